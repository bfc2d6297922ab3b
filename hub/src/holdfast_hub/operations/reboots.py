"""Restarts that people ask sites for: a RebootRequest for each, taken out again when it is over or done."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.operations.apply import apply
from holdfast_hub.operations.fleet import Change
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store import targets
from holdfast_protocol.blueprint.names import API_VERSION
from holdfast_protocol.errors import ConflictError, InputError, Problem
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.reboots import MAX_REASON, MAX_SECONDS, REQUEST

KEPT: Final = 3600 * 1000  # milliseconds after its end that a request stays to be looked at


class RebootView(msgspec.Struct, frozen=True):
    """A request that was made; `until` in milliseconds since 1970."""

    name: str
    site: str
    reason: str
    until: int
    by: str


async def request_reboots(
    hub: Hub, sites: Sequence[str], *, reason: str, seconds: int, author: str
) -> list[RebootView]:
    """Ask sites to restart their machines once, within so many seconds.

    Raises InputError, NotFoundError for an unknown site, ConflictError for one without a target."""
    if problems := _problems(sites, reason, seconds):
        raise InputError(problems)
    await _forget_old(hub, author)
    until = hub.now() + seconds * 1000
    made = [
        RebootView(f"reboot-{secrets.token_hex(4)}", await _targeted(hub, name), reason.strip(), until, author)
        for name in dict.fromkeys(sites)
    ]
    text = "\n---\n".join(json.dumps(_document(each, seconds)) for each in made)
    await apply(hub, [SourceFile("reboot", text)], author=author)
    return made


async def _targeted(hub: Hub, name: str) -> str:
    def looking(connection: sqlite3.Connection) -> tuple[SiteName, bool]:
        known = hub.fleet.site(name).row.name
        return known, targets.newest(connection, known) is not None

    site, has_target = await hub.store.read(looking)
    if not has_target:
        raise ConflictError(f"{site} has no target yet that would come back after it", reason="NoTarget")
    return site


def _problems(sites: Sequence[str], reason: str, seconds: int) -> list[Problem]:
    found = []
    if not sites:
        found.append(Problem("name at least one site", path="sites"))
    if not 0 < seconds <= MAX_SECONDS:
        found.append(Problem(f"a request stands 1 to {MAX_SECONDS} seconds", path="seconds"))
    if not reason.strip() or len(reason) > MAX_REASON:
        found.append(Problem(f"a restart needs a reason of at most {MAX_REASON} characters", path="reason"))
    return found


def _document(view: RebootView, seconds: int) -> dict[str, Any]:
    here = {"key": "name", "operator": "In", "values": [view.site]}
    placement = {"fieldSelector": {"matchExpressions": [here]}}
    spec = {"reason": view.reason, "until": view.until, "seconds": seconds, "by": view.by, "placement": placement}
    return {"apiVersion": API_VERSION, "kind": REQUEST, "metadata": {"name": view.name}, "spec": spec}


async def _forget_old(hub: Hub, author: str) -> None:
    """Delete requests that are long over: the nodes have served or dropped them by their own clocks."""

    def forgetting() -> Enacted | None:
        now = hub.now()
        over = [
            row.owner for row in hub.fleet.objects.values() if row.kind == REQUEST and row.spec["until"] + KEPT < now
        ]
        if not over:
            return None
        return hub.enact(Change(objects=dict.fromkeys(over)), Note(author, "reboot-over", tuple(over), {}))

    enacted = await hub.database.call(forgetting)
    if enacted is not None:
        hub.tell(enacted)
