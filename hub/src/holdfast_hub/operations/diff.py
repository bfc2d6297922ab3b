"""What applying some files would change at which sites, as text a person reads."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.operations.apply import proposed
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.proposal import Proposal, SourceFile
from holdfast_hub.store import targets
from holdfast_protocol.errors import Problem
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, Resource

RESTARTED: Final = frozenset({"Deployment", "Pod", "SystemdService"})  # a changed spec starts them again
_CONTENT: Final = msgspec.json.Decoder(Content)


class Group(msgspec.Struct, frozen=True):
    """Sites that would see exactly the same change."""

    sites: list[str]
    diff: str  # unified, of the resources as YAML
    added: list[str]
    changed: list[str]
    removed: list[str]
    restarts: list[str]


class Difference(msgspec.Struct, frozen=True):
    groups: list[Group]
    warnings: tuple[Problem, ...]
    same: bool


async def diff(hub: Hub, files: Sequence[SourceFile], *, author: str) -> Difference:
    """Return what `apply` would change. Nothing is written; a breaking change of a schema is a warning here.

    Raises InputError as `apply` does otherwise."""

    def comparing() -> Difference:
        proposal = proposed(hub, files, author=author, force=True)
        enacted = hub.enact(proposal.change, Note(author, "diff", ()), dry_run=True)
        return _difference(hub, proposal, enacted)

    return await hub.database.call(comparing)


def _difference(hub: Hub, proposal: Proposal, enacted: Enacted) -> Difference:
    pairs: dict[tuple[str, str], list[str]] = {}
    after: dict[str, Content] = {}
    for move in enacted.moves:
        pairs.setdefault((move.before.digest if move.before else "", move.after.digest), []).append(move.site)
        after[move.after.digest] = move.after.content
    groups: dict[str, Group] = {}
    with hub.database.reading() as connection:
        for (old, new), sites in pairs.items():
            before = _CONTENT.decode(targets.body(connection, old)) if old else Content()
            group = change_between(before, after[new])
            groups.setdefault(group.diff, group).sites.extend(sites)
    for group in groups.values():
        group.sites.sort()
    listed = sorted(groups.values(), key=lambda each: each.sites)
    return Difference(listed, proposal.warnings, same=not listed)


def change_between(before: Content, after: Content) -> Group:
    """Return what differs between two contents, with no sites named."""
    old = {each.key: each for each in before.resources}
    new = {each.key: each for each in after.resources}
    added = [key for key in new if key not in old]
    removed = [key for key in old if key not in new]
    changed = [key for key in new if key in old and old[key].digest != new[key].digest]
    texts = [_unified(key, old.get(key), new.get(key)) for key in sorted({*added, *removed, *changed})]
    return Group(
        [],
        "".join(texts),
        sorted(added),
        sorted(changed),
        sorted(removed),
        sorted(key for key in changed if new[key].kind in RESTARTED),
    )


def _unified(key: ResourceKey, old: Resource | None, new: Resource | None) -> str:
    lines = difflib.unified_diff(
        _text(old, old),
        _text(new, old),
        fromfile=f"a/{key}" if old else "/dev/null",
        tofile=f"b/{key}" if new else "/dev/null",
    )
    return "".join(_terminated(lines))


def _terminated(lines: Iterable[str]) -> Iterable[str]:
    return (line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(resource: Resource | None, before: Resource | None) -> list[str]:
    if resource is None:
        return []
    body = masked(resource.body, before.body if before else {})
    ordered = msgspec.json.decode(strict.encode(body))  # what is stored has lost its author's order of keys
    return yaml_writer.write(ordered).splitlines(keepends=True)


def masked(body: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a body fit to be seen: of a Secret only which values differ from `before`, nothing of the values."""
    if body.get("kind") != "Secret":
        return body
    hidden = {}
    for part in ("data", "stringData"):
        if isinstance(values := body.get(part), dict):
            known = before.get(part) or {}
            hidden[part] = {
                key: "(hidden)" if known.get(key) == value else "(hidden, changed)" for key, value in values.items()
            }
    return {**body, **hidden}
