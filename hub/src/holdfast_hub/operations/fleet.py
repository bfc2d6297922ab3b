"""The fleet in memory: what is stored of blueprints, instances and sites, with the index of what is placed where.

A mirror of committed rows, used only in the database's thread. A change is made here first, because the index then says
which sites it touches; it is made back when it is refused, tried only, or cannot be committed.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast_hub.core.placement import PlacementIndex, SiteView
from holdfast_hub.core.target import Contribution
from holdfast_hub.store import blueprints, holds, instances, objects, sites, status
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.holds import HoldRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_hub.store.objects import ObjectRow
from holdfast_hub.store.sites import SiteRow
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import Document, read_documents
from holdfast_protocol.errors import ConflictError, NotFoundError
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import Partition, SiteName


class KnownSite(msgspec.Struct, frozen=True):
    row: SiteRow
    facts: dict[str, tuple[str, ...]]  # of all its nodes together

    def view(self) -> SiteView:
        """Return the site as selectors see it; a fact cannot stand in for what the hub's people said."""
        row = self.row
        fields = {
            **self.facts,
            "name": (row.name,),
            "zone": row.zones or self._labelled("zone"),
            "region": (row.region,) if row.region else self._labelled("region"),
            "provider": (row.provider,) if row.provider else (),
        }
        return SiteView(name=row.name, labels=row.labels, fields=fields)

    def _labelled(self, what: str) -> tuple[str, ...]:
        """Return what the labels say where the field is empty, by Kubernetes' well-known key or the short one."""
        labels = self.row.labels
        value = labels.get(f"topology.kubernetes.io/{what}") or labels.get(what)
        return (value,) if value else ()


class Change(msgspec.Struct, frozen=True):
    """What becomes different, by name; None is gone."""

    blueprints: dict[str, BlueprintRow | None] = {}
    instances: dict[str, InstanceRow | None] = {}
    sites: dict[SiteName, KnownSite | None] = {}
    objects: dict[str, ObjectRow | None] = {}
    holds: dict[str, HoldRow | None] = {}  # by id


class Fleet:
    def __init__(self) -> None:
        self.blueprints: dict[str, BlueprintRow] = {}
        self.instances: dict[str, InstanceRow] = {}
        self.objects: dict[str, ObjectRow] = {}
        self.holds: dict[str, HoldRow] = {}
        self.sites: dict[SiteName, KnownSite] = {}
        self.index = PlacementIndex()
        self.colliding: set[SiteName] = set()  # keep the target they have: their facts brought two claims together
        self._definitions: dict[tuple[str, int], Definition] = {}

    def load(self, connection: sqlite3.Connection, partitions: Sequence[Partition]) -> None:
        """Read everything committed; for a fleet nothing was made in yet."""
        facts = status.facts(connection, partitions)
        self.colliding = {SiteName(site) for site in status.refused_sites(connection)}
        self.make(
            Change(
                {row.name: row for row in blueprints.load(connection)},
                {row.owner: row for row in instances.load(connection)},
                {row.name: KnownSite(row, facts.get(row.name, {})) for row in sites.load(connection, partitions)},
                {row.owner: row for row in objects.load(connection)},
                {row.id: row for row in holds.load(connection)},
            )
        )

    def make(self, change: Change) -> tuple[set[SiteName], Change]:
        """Make a change; return the sites it may touch, and the change that takes it back."""
        touched: set[SiteName] = set()
        back = Change(
            {name: self.blueprints.get(name) for name in change.blueprints},
            {owner: self.instances.get(owner) for owner in change.instances},
            {name: self.sites.get(name) for name in change.sites},
            {owner: self.objects.get(owner) for owner in change.objects},
            {name: self.holds.get(name) for name in change.holds},
        )
        _put(self.blueprints, change.blueprints)
        for owner, row in (*change.instances.items(), *change.objects.items()):
            before = self.instances.get(owner) or self.objects.get(owner)
            if before is not None and row is not None and _same(before, row):
                continue  # says and goes where it did: no site is touched
            touched |= self._sites_of(owner)
            if row is None:
                self.index.remove_instance(owner)
            else:
                self.index.put_instance(owner, row.placement)
                touched |= self._sites_of(owner)
        _put(self.instances, change.instances)
        _put(self.objects, change.objects)
        touched |= {
            held.site for name, now in change.holds.items() if (held := now or self.holds.get(name)) is not None
        }
        _put(self.holds, change.holds)
        for name, site in change.sites.items():
            if site is None:
                self.index.remove_site(name)
            else:
                self.index.put_site(site.view())
                touched.add(name)
        _put(self.sites, change.sites)
        return {site for site in touched if site in self.sites}, back

    def _sites_of(self, owner: str) -> set[SiteName]:
        return {SiteName(name) for name in self.index.sites_of(owner)}

    def placed(self, site: SiteName) -> tuple[str, ...]:
        """Return the instances and objects placed on a site, in order."""
        return tuple(sorted(self.index.instances_of(site)))

    def placed_digest(self, site: SiteName) -> str:
        """Return what tells the set of what is placed on a site from another."""
        return names_digest(self.placed(site))

    def owners(self, site: SiteName) -> tuple[str, ...]:
        """Return the instances placed on a site, in order."""
        return tuple(owner for owner in self.placed(site) if owner in self.instances)

    def sites_of(self, owner: str) -> list[SiteName]:
        return sorted(self._sites_of(owner))

    def contributions(self, placed: Sequence[str]) -> list[Contribution]:
        """Return what the instances among what is placed on a site put there."""
        rows = [self.instances[owner] for owner in placed if owner in self.instances]
        return [Contribution(row.owner, row.resources, row.program) for row in rows]

    def objects_of(self, placed: Sequence[str]) -> list[ObjectRow]:
        """Return the objects among what is placed on a site."""
        return [self.objects[owner] for owner in placed if owner in self.objects]

    def holds_at(self, site: SiteName, now: int) -> tuple[HoldRow, ...]:
        """Return the holds of a site that stand at `now` (ms), by id."""
        found = [row for row in self.holds.values() if row.site == site and row.until > now]
        return tuple(sorted(found, key=lambda row: row.id))

    def definition(self, row: BlueprintRow) -> Definition:
        """Return a stored blueprint checked again (once per revision)."""
        key = (row.name, row.revision)
        if key not in self._definitions:
            self._definitions[key] = check_blueprint(stored_document(row)).value
        return self._definitions[key]

    def of_kind(self, kind: str) -> BlueprintRow | None:
        """Return the blueprint that defines a kind of instances."""
        return next((row for row in self.blueprints.values() if row.kind == kind), None)

    def instance(self, name: str) -> InstanceRow:
        """Return an instance by Kind/name, or by its name when only one kind has it."""
        found = [row for owner, row in self.instances.items() if name in (owner, row.name)]
        if not found:
            raise NotFoundError(f"no instance {name!r}", resource=name)
        if len(found) > 1:
            owners = ", ".join(row.owner for row in found)
            raise ConflictError(f"{name!r} may be any of {owners}", reason="Ambiguous", hint="name its kind: Kind/name")
        return found[0]

    def object(self, kind: str, name: str) -> ObjectRow:
        owner = f"{kind}/{name}"
        if owner not in self.objects:
            raise NotFoundError(f"no {kind} {name!r}", resource=owner)
        return self.objects[owner]

    def blueprint(self, name: str) -> BlueprintRow:
        if name not in self.blueprints:
            raise NotFoundError(f"no blueprint {name!r}", resource=f"Blueprint/{name}")
        return self.blueprints[name]

    def site(self, name: str) -> KnownSite:
        if SiteName(name) not in self.sites:
            raise NotFoundError(f"no site {name!r}", resource=f"Site/{name}")
        return self.sites[SiteName(name)]


def names_digest(placed: Sequence[str]) -> str:
    return digest_bytes("\n".join(placed).encode())[:16]


def _put(held: dict[Any, Any], change: dict[Any, Any]) -> None:
    for key, value in change.items():
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value


def _same(before: InstanceRow | ObjectRow, after: InstanceRow | ObjectRow) -> bool:
    if isinstance(before, InstanceRow) and isinstance(after, InstanceRow):
        told = (before.resources, before.program) == (after.resources, after.program)
        return before.placement == after.placement and told
    return before.placement == after.placement and before.spec == after.spec


def stored_document(row: BlueprintRow | InstanceRow | ObjectRow) -> Document:
    """Return a stored document with the places it had in its author's file."""
    (document,) = read_documents("\n" * row.line + row.source, row.file)
    return document
