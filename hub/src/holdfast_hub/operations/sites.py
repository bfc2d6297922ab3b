"""Sites: added, described, given their kit, and brought back under the hub's word after a conflict."""

from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast_hub.core.target import Composed
from holdfast_hub.operations.composition import Composing
from holdfast_hub.operations.fleet import Change, KnownSite, names_digest
from holdfast_hub.operations.hub import Enacted, Hub, Move, Note
from holdfast_hub.store import audit, sites, status, targets
from holdfast_hub.store.sites import SiteRow
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError, Problem, WireError
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.labels import is_label_key, is_label_value
from holdfast_protocol.wire.names import SiteName, site_name
from holdfast_protocol.wire.target import Content

MAX_LABELS: Final = 64
MAX_WORD: Final = 253  # characters of a zone, a region, a provider, a host
MAX_ZONES: Final = 64


class SiteWords(msgspec.Struct, frozen=True):
    """What people say of a site; None leaves a part as it is, a label's None takes it away."""

    labels: dict[str, str | None] = {}
    zones: list[str] | None = None
    region: str | None = None
    provider: str | None = None
    time_zone: str | None = None  # IANA; "" for the node's own


async def add_site(hub: Hub, name: str, words: SiteWords, *, author: str) -> None:
    """Add a site. Raises ConflictError when there is one of this name."""
    site = _site_name(name)
    _check(words)

    def adding() -> Enacted:
        if site in hub.fleet.sites:
            raise ConflictError(f"there is a site {site!r} already", reason="Exists", resource=f"Site/{site}")
        known = KnownSite(_said(SiteRow(site, hub.now()), words), {})
        return hub.enact(Change(sites={site: known}), Note(author, "add", (f"Site/{site}",)))

    hub.tell(await hub.database.call(adding))


async def describe_site(hub: Hub, name: str, words: SiteWords, *, author: str) -> None:
    """Change labels, zones, region or provider of a site; its target follows."""
    _check(words)

    def describing() -> Enacted:
        known = hub.fleet.site(name)
        changed = msgspec.structs.replace(known, row=_said(known.row, words))
        detail = msgspec.to_builtins(words)
        return hub.enact(Change(sites={known.row.name: changed}), Note(author, "describe", (f"Site/{name}",), detail))

    hub.tell(await hub.database.call(describing))


def _said(row: SiteRow, words: SiteWords) -> SiteRow:
    labels = {**row.labels, **words.labels}
    return msgspec.structs.replace(
        row,
        labels={key: value for key, value in labels.items() if value is not None},
        zones=row.zones if words.zones is None else tuple(words.zones),
        region=row.region if words.region is None else words.region,
        provider=row.provider if words.provider is None else words.provider,
        time_zone=row.time_zone if words.time_zone is None else words.time_zone,
    )


def _check(words: SiteWords) -> None:
    problems = []
    if words.time_zone and zones.zone(words.time_zone) is None:
        problems.append(Problem(f"{words.time_zone[:60]!r} is no time zone", path="time_zone", hint="Europe/Berlin"))
    if len(words.labels) > MAX_LABELS or len(words.zones or ()) > MAX_ZONES:
        problems.append(Problem(f"more than {MAX_LABELS} labels or {MAX_ZONES} zones"))
    for key, value in words.labels.items():
        if not is_label_key(key) or not is_label_value(value or ""):
            message = (
                "a label's key and value are at most 63 letters, digits and inner -_. (a key may have a DNS prefix)"
            )
            problems.append(Problem(message, path=f"labels.{key[:80]}"))
    texts = {f"zones[{index}]": zone or " " for index, zone in enumerate(words.zones or ())}
    texts |= {"region": words.region or "", "provider": words.provider or ""}
    for path, text in texts.items():
        if len(text) > MAX_WORD or not text.isprintable() or text != text.strip():
            problems.append(Problem(f"must be at most {MAX_WORD} printable characters, no blank around", path=path))
    if problems:
        raise InputError(problems)


def _site_name(text: str) -> SiteName:
    try:
        return site_name(text)
    except WireError as error:
        raise InputError([Problem(error.message, path="name")]) from None


async def adopt_site(hub: Hub, name: str, *, author: str) -> None:
    """End a conflict in the hub's favour: what the hub wants becomes the site's newest target, above what it holds.

    Raises ConflictError when there is none, or when the site holds a target of an epoch this hub has no key of.
    """

    def adopting() -> Enacted:
        site = hub.fleet.site(name).row.name
        with hub.database.transaction() as connection:
            row = sites.find(connection, site)
            if row is None or not row.in_conflict:
                raise ConflictError(f"site {site!r} is not ahead of this hub", reason="NoConflict")
            epoch, generation = row.conflict
            if epoch > hub.identity.epoch:
                raise ConflictError(
                    f"site {site!r} trusts epoch {epoch}, this hub signs for {hub.identity.epoch}",
                    reason="NewerEpoch",
                    hint="restore the hub's key of that epoch",
                )
            composed = Composing(hub.fleet, hub.now()).at(site)
            if composed.problems:
                raise InputError(composed.problems)
            move = Move(site, targets.newest(connection, site), composed)
            hub.allocate(connection, move, above=generation)
            sites.mark_conflict(connection, site, (0, 0), "")
            detail = {"above": [epoch, generation]}
            event = audit.add(
                connection, at=hub.now(), actor=author, action="adopt", subjects=[f"Site/{site}"], detail=detail
            )
        return Enacted(Change(), (move,), event)

    hub.tell(await hub.database.call(adopting))


async def retry_site(hub: Hub, name: str, *, author: str) -> None:
    """Have a site try its target once more: the same content as a new generation, which it does not know as a bad one.

    Raises NotFoundError while it has none, ConflictError when the site is ahead of this hub.
    """

    def retrying() -> Enacted:
        site = hub.fleet.site(name).row.name
        with hub.database.transaction() as connection:
            row, before = sites.find(connection, site), targets.newest(connection, site)
            if before is None:
                raise NotFoundError(f"site {site!r} has no target yet", resource=f"Site/{site}")
            if row is not None and row.in_conflict:
                hint = f"holdfast site adopt {site}"
                raise ConflictError(f"site {site!r} is ahead of this hub", reason="Conflict", hint=hint)
            body = targets.body(connection, before.digest)
            same = Composed(msgspec.json.decode(body, type=Content), body, before.digest)
            move = Move(site, before, same)
            made = hub.allocate(connection, move)
            event = audit.add(
                connection,
                at=hub.now(),
                actor=author,
                action="retry",
                subjects=[f"Site/{site}"],
                detail={"generation": made.generation},
            )
        return Enacted(Change(), (move,), event)

    hub.tell(await hub.database.call(retrying))


async def refresh_facts(hub: Hub, names: Iterable[SiteName]) -> None:
    """Place again those of the sites whose nodes report other facts than before."""

    def refreshing() -> list[Enacted]:
        with hub.database.reading() as connection:
            facts = status.facts(connection, hub.partitions)
        known = [hub.fleet.sites[name] for name in names if name in hub.fleet.sites]
        return [
            _replaced(hub, msgspec.structs.replace(each, facts=facts.get(each.row.name, {})))
            for each in known
            if each.facts != facts.get(each.row.name, {})
        ]

    for enacted in await hub.database.call(refreshing):
        hub.tell(enacted)


async def repair_placement(hub: Hub) -> None:
    """Place again the sites whose target is not of the instances placed there: a kill came between facts and target."""

    def repairing() -> list[Enacted]:
        with hub.database.reading() as connection:
            composed = targets.placements(connection, hub.partitions)
            before = {site for site, placed in composed.items() if not placed}  # of a version that did not keep it
            newest = targets.all_newest(connection, hub.partitions) if before else {}
            digests = {newest[site].digest for site in before}
            held = {digest: _owners(targets.body(connection, digest)) for digest in digests}
        return [
            _replaced(hub, known)
            for name, known in list(hub.fleet.sites.items())
            if (
                set(hub.fleet.owners(name)) != held[newest[name].digest]
                if name in before
                else hub.fleet.placed_digest(name) != composed.get(name, names_digest(()))
            )
        ]

    for enacted in await hub.database.call(repairing):
        hub.tell(enacted)


def _owners(body: bytes) -> set[str]:
    return {resource.instance for resource in msgspec.json.decode(body, type=Content).resources}


def _replaced(hub: Hub, known: KnownSite) -> Enacted:
    site = known.row.name
    return hub.enact(Change(sites={site: known}), Note("hub", "facts", (f"Site/{site}",)), facts=frozenset({site}))
