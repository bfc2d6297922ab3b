"""Show what instances become: their resources, or plain files that need no hub any more."""

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast_hub.blueprint.eject import eject as ejected_files
from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations.apply import NO_WORDS, proposed
from holdfast_hub.operations.composition import Composing
from holdfast_hub.operations.fleet import stored_document
from holdfast_hub.operations.hub import Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store import blueprints
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.errors import NotFoundError, Problem
from holdfast_protocol.wire.target import Resource


class RenderedResource(msgspec.Struct, frozen=True):
    instance: str  # Kind/name
    id: str  # in its blueprint
    key: str
    body: dict[str, Any]
    depends_on: tuple[str, ...]


class UndecidedResource(msgspec.Struct, frozen=True):
    """A resource that only each site can decide, with what of it is known there alone."""

    instance: str  # Kind/name
    id: str  # in its blueprint
    kind: str
    why: str


class RenderedFiles(msgspec.Struct, frozen=True):
    resources: list[RenderedResource]
    warnings: tuple[Problem, ...] = ()
    undecided: list[UndecidedResource] = []


class Ejected(msgspec.Struct, frozen=True):
    files: dict[str, str]  # relative path: text
    warnings: tuple[Problem, ...] = ()


async def render(
    hub: Hub,
    files: Sequence[SourceFile],
    *,
    instance: str = "",
    site: str = "",
    author: str = "",
    words: Words = NO_WORDS,
) -> RenderedFiles:
    """Return the resources of the files' instances (of all stored ones when no file is given), nothing written.

    `instance` and `site` narrow it: one instance, or what would be placed on one site, with its overlays.
    """

    def rendering() -> RenderedFiles:
        if not files:
            return _rendered(_narrowed(hub, instance, site))
        proposal = proposed(hub, files, author=author, force=True, words=words)
        _, back = hub.fleet.make(proposal.change)
        try:
            rows = [row for row in _narrowed(hub, instance, site) if row.owner in proposal.documents]
        finally:
            hub.fleet.make(back)
        return _rendered(rows, proposal.warnings)

    return await hub.database.call(rendering)


def _narrowed(hub: Hub, instance: str, site: str) -> list[InstanceRow]:
    fleet = hub.fleet
    rows = [fleet.instance(instance)] if instance else sorted(fleet.instances.values(), key=lambda each: each.owner)
    if not site:
        return rows
    name = fleet.site(site).row.name
    there: dict[str, list[Resource]] = {owner: [] for owner in fleet.owners(name)}
    for each in Composing(fleet, hub.now()).composed(fleet.placed(name)).content.resources:
        there[each.instance].append(each)
    return [msgspec.structs.replace(row, resources=tuple(there[row.owner])) for row in rows if row.owner in there]


def _rendered(rows: Sequence[InstanceRow], warnings: tuple[Problem, ...] = ()) -> RenderedFiles:
    resources = [
        RenderedResource(row.owner, each.id, each.key, each.body, each.depends_on)
        for row in rows
        for each in row.resources
    ]
    undecided = [
        UndecidedResource(instance.owner, late.id, late.kind, late.why)
        for row in rows
        for instance in (row.program.instances if row.program else ())
        for late in instance.late
        if not late.external
    ]
    return RenderedFiles(resources, warnings, undecided)


async def eject(hub: Hub, files: Sequence[SourceFile], *, blueprint: str = "", author: str = "") -> Ejected:
    """Return plain files for every instance of the blueprints given, or stored; of one blueprint when named."""

    def ejecting() -> Ejected:
        found: dict[str, tuple[Definition, Document]] = {}
        warnings: tuple[Problem, ...] = ()
        if files:
            proposal = proposed(hub, files, author=author, force=True, words=None)
            warnings = proposal.warnings
            hub.enact(proposal.change, Note(author, "eject", ()), dry_run=True)
            for owner, document in proposal.documents.items():
                found[owner] = (proposal.used[owner], document)
        given = {definition.name for definition, _ in found.values()}
        if files:
            given |= {definition.name for definition in proposal.definitions.values()}
        for row in hub.fleet.instances.values():
            if row.owner not in found and (not files or row.blueprint in given):
                found[row.owner] = (_definition(hub, row), stored_document(row))
        result: dict[str, str] = {}
        folders: set[str] = set()
        for _, (definition, document) in sorted(found.items()):
            if not blueprint or definition.name == blueprint:
                instance = check_instance(definition, document).value
                taken = instance.name in folders  # by an instance of another kind
                folders.add(instance.name)
                for path, text in ejected_files(definition, instance).items():
                    result[f"{definition.kind}.{path}" if taken else path] = text
        if blueprint and not result and blueprint not in given:
            hub.fleet.blueprint(blueprint)
        return Ejected(result, warnings)

    return await hub.database.call(ejecting)


def _definition(hub: Hub, row: InstanceRow) -> Definition:
    """Return what a stored instance is rendered from: the newest revision of its blueprint, or the one it keeps."""
    newest = hub.fleet.blueprint(row.blueprint)
    if row.pin in (0, newest.revision):
        return hub.fleet.definition(newest)
    with hub.database.reading() as connection:
        pinned = blueprints.find(connection, row.blueprint, row.pin)
    if pinned is None:
        raise NotFoundError(f"no revision {row.pin} of Blueprint {row.blueprint!r}", resource=row.owner)
    return hub.fleet.definition(pinned)
