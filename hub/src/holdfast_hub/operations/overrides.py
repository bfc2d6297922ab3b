"""Overrides: changes that people at sites laid over their targets, as their nodes report them, and what becomes of them.

Adopting one writes an Overlay that says the same for that site, and a decision that ends it there: both in one change, so
the machine stays as it is. Dropping writes the decision alone: the site goes back to what its target says.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_hub.operations.apply import apply
from holdfast_hub.operations.fleet import Change
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store import status
from holdfast_protocol.blueprint.names import API_VERSION
from holdfast_protocol.errors import ConflictError, NotFoundError
from holdfast_protocol.wire.overrides import KIND

Verdict = Literal["adopted", "dropped"]
ORDER: Final = 900_000  # of the overlays written here: after those that people write


class OverrideView(msgspec.Struct, frozen=True):
    """An override as its node reported it last. `decided` is empty until somebody here decided. Times in milliseconds."""

    id: str
    site: str
    node: str
    resource: str
    patch: dict[str, Any]
    reason: str
    by: str
    at: int
    until: int
    problem: str
    decided: str


async def list_overrides(hub: Hub, site: str = "") -> list[OverrideView]:
    """Return what nodes report, the oldest first. Raises NotFoundError for an unknown site."""

    def listing(connection: sqlite3.Connection) -> list[OverrideView]:
        return _listed(hub, connection, site)

    return await hub.store.read(listing)


async def decide_overrides(hub: Hub, names: Sequence[str], verdict: Verdict, *, author: str) -> list[OverrideView]:
    """Adopt or drop overrides by id. Raises NotFoundError, ConflictError when one is decided, InputError when the overlay
    that would say the same is refused."""
    every = {each.id: each for each in await list_overrides(hub)}
    chosen = []
    for name in dict.fromkeys(names):
        if name not in every:
            raise NotFoundError(f"no node reports an override {name[:80]!r}", hint="holdfast get overrides")
        if every[name].decided:
            raise ConflictError(f"{name} is {every[name].decided} already", reason="Decided")
        chosen.append(every[name])
    await _forget_old(hub, author)
    documents = [each for view in chosen for each in _documents(view, verdict, author)]
    text = "\n---\n".join(json.dumps(each) for each in documents)
    await apply(hub, [SourceFile(f"override-{verdict}", text)], author=author)
    return [msgspec.structs.replace(each, decided=verdict) for each in chosen]


def _listed(hub: Hub, connection: sqlite3.Connection, site: str) -> list[OverrideView]:
    wanted = hub.fleet.site(site).row.name if site else None
    found = []
    for node in status.nodes(connection, hub.partitions, wanted):
        for each in node.status.overrides if node.status is not None else ():
            row = hub.fleet.objects.get(f"{KIND}/{each.id}")
            found.append(
                OverrideView(
                    each.id,
                    node.site,
                    node.node,
                    each.resource,
                    each.patch,
                    each.reason,
                    each.by,
                    each.at,
                    each.until,
                    each.problem,
                    str(row.spec["verdict"]) if row is not None else "",
                )
            )
    return sorted(found, key=lambda each: (each.at, each.site, each.id))


def _documents(view: OverrideView, verdict: Verdict, author: str) -> list[dict[str, Any]]:
    here = {"key": "name", "operator": "In", "values": [view.site]}
    at_site = {"fieldSelector": {"matchExpressions": [here]}}
    decision = {"override": view.id, "verdict": verdict, "by": author, "placement": at_site}
    made = [_document(KIND, view.id, decision)]
    if verdict == "adopted":
        kind, _, rest = view.resource.partition("/")
        namespace, _, name = rest.rpartition("/")
        target = {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}
        patches = [{"target": target, "patch": view.patch}]
        made.append(
            _document("Overlay", f"override-{view.id}", {"order": ORDER, "patches": patches, "placement": at_site})
        )
    return made


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


async def _forget_old(hub: Hub, author: str) -> None:
    """Delete decisions that have done their work: no node reports their override any more."""

    def forgetting() -> Enacted | None:
        with hub.database.reading() as connection:
            held = {each.id for each in _listed(hub, connection, "")}
        gone = [row.owner for row in hub.fleet.objects.values() if row.kind == KIND and row.name not in held]
        if not gone:
            return None
        return hub.enact(Change(objects=dict.fromkeys(gone)), Note(author, "override-done", tuple(gone), {}))

    enacted = await hub.database.call(forgetting)
    if enacted is not None:
        hub.tell(enacted)
