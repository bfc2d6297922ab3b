"""What applying some files would change at which sites, as text a person reads."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.blueprint.program import shown
from holdfast_hub.core.effects import Restart, images, restarts
from holdfast_hub.operations.apply import NO_WORDS, proposed
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.operations.proposal import Proposal
from holdfast_hub.store import targets
from holdfast_protocol.errors import Problem
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, Resource

_SHOWN_APART: Final = frozenset({"resources", "programs", "requires"})  # fields of a content
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"  # annotation: a copy of the whole object
_CONTENT: Final = msgspec.json.Decoder(Content)


class Group(msgspec.Struct, frozen=True):
    """Sites that would see exactly the same change."""

    sites: list[str]
    diff: str  # unified, of the resources as YAML
    added: list[str]
    changed: list[str]
    removed: list[str]
    restarts: list[Restart]
    images: list[str]  # to fetch, as far as they are not there
    undecided: list[str] = []  # after the change: what only the sites decide, `KIND ID of INSTANCE`


class Difference(msgspec.Struct, frozen=True):
    groups: list[Group]
    warnings: tuple[Problem, ...]
    same: bool


async def diff(hub: Hub, files: Sequence[SourceFile], *, author: str, words: Words = NO_WORDS) -> Difference:
    """Return what `apply` would change. Nothing is written; a breaking change of a schema is a warning here.

    Raises InputError as `apply` does otherwise."""

    def comparing() -> Difference:
        proposal = proposed(hub, files, author=author, force=True, words=words)
        enacted = hub.enact(proposal.change, Note(author, "diff", ()), dry_run=True)
        return _difference(hub, proposal, enacted)

    return await hub.database.call(comparing)


def _difference(hub: Hub, proposal: Proposal, enacted: Enacted) -> Difference:
    pairs: dict[tuple[str, str], list[str]] = {}
    after: dict[str, Content] = {}
    for move in enacted.moves:
        pairs.setdefault((move.before.digest if move.before else "", move.after.digest), []).append(move.site)
        after[move.after.digest] = move.after.content
    groups: dict[bytes, Group] = {}
    with hub.database.reading() as connection:
        for (old, new), sites in pairs.items():
            before = _CONTENT.decode(targets.body(connection, old)) if old else Content()
            group = change_between(before, after[new])
            groups.setdefault(strict.encode(group), group).sites.extend(sites)
    for group in groups.values():
        group.sites.sort()
    listed = sorted(groups.values(), key=lambda each: each.sites)
    return Difference(listed, (*proposal.warnings, *enacted.warnings), same=not listed)


def change_between(before: Content, after: Content) -> Group:
    """Return what differs between two contents, with no sites named."""
    old = {each.key: each for each in before.resources}
    new = {each.key: each for each in after.resources}
    added = [key for key in new if key not in old]
    removed = [key for key in old if key not in new]
    changed = [key for key in new if key in old and old[key].digest != new[key].digest]
    texts = [_unified(key, old.get(key), new.get(key)) for key in sorted({*added, *removed, *changed})]
    texts += _evaluated(before, after)
    texts += _beside(before, after)
    return Group(
        [],
        "".join(texts),
        sorted(added),
        sorted(changed),
        sorted(removed),
        restarts(before, after),
        images(before, after),
        undecided=[
            f"{late.kind} {late.id} of {instance.owner}"
            for program in after.programs
            for instance in program.instances
            for late in instance.late
            if not late.external
        ],
    )


def _evaluated(before: Content, after: Content) -> list[str]:
    """Return what differs in what the sites evaluate themselves, one text for each instance."""
    old, new = shown(before.programs), shown(after.programs)
    texts = []
    for owner in sorted({*old, *new}):
        name = f"evaluated at the site: {owner}"
        lines = difflib.unified_diff(
            _yaml(old.get(owner)),
            _yaml(new.get(owner)),
            fromfile=f"a/{name}" if owner in old else "/dev/null",
            tofile=f"b/{name}" if owner in new else "/dev/null",
        )
        texts.append("".join(_terminated(lines)))
    return texts


def _beside(before: Content, after: Content) -> list[str]:
    """Return what differs in everything that is no resource: policies, windows and the like."""
    texts = []
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    for field in Content.__struct_fields__:
        if field not in _SHOWN_APART and old.get(field) != new.get(field):
            lines = difflib.unified_diff(
                _yaml({field: old[field]} if old.get(field) else None),
                _yaml({field: new[field]} if new.get(field) else None),
                fromfile=f"a/{field}" if old.get(field) else "/dev/null",
                tofile=f"b/{field}" if new.get(field) else "/dev/null",
            )
            texts.append("".join(_terminated(lines)))
    return texts


def _yaml(value: dict[str, Any] | None) -> list[str]:
    if value is None:
        return []
    return yaml_writer.write(msgspec.json.decode(strict.encode(value))).splitlines(keepends=True)


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
    return _yaml(body)  # what is stored has lost its author's order of keys


def masked(body: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a body fit to be seen: of a Secret only which values differ from `before`, nothing of the values."""
    if body.get("kind") != "Secret":
        return body
    hidden: dict[str, Any] = {}
    for part in ("data", "stringData"):
        values, known = body.get(part), before.get(part)
        if isinstance(values, dict):
            known = known if isinstance(known, dict) else {}
            hidden[part] = {key: _hidden(value, known.get(key)) for key, value in values.items()}
        elif part in body:
            hidden[part] = _hidden(values, known)
    annotations = body["metadata"].get("annotations")
    if isinstance(annotations, dict) and _APPLIED in annotations:
        hidden["metadata"] = {**body["metadata"], "annotations": {**annotations, _APPLIED: "(hidden)"}}
    return {**body, **hidden}


def _hidden(value: Any, before: Any) -> str:
    return "(hidden)" if value == before else "(hidden, changed)"
