"""Show what instances become: their resources."""

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations.apply import NO_WORDS, proposed
from holdfast_hub.operations.composition import Composing
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.errors import Problem
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
