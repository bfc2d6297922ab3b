"""Holds from the hub: "leave it alone", for a time, said in the signed targets of the sites."""

import contextlib
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from holdfast_hub.operations.fleet import Change
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.store import status
from holdfast_hub.store.holds import HoldRow
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError, Problem, TransientError
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import MAX_HOLDS, MAX_KEY

MAX_SECONDS: Final = 30 * 24 * 3600
MAX_TEXT: Final = 300  # characters of a reason
MAX_RESOURCES: Final = 1_000  # named in one hold
EVERY: Final = 30.0  # seconds between two looks for holds that are over


class HoldView(msgspec.Struct, frozen=True):
    """A hold that stands: made here, or at a node (`node` names it), as it reported. Times in milliseconds since 1970."""

    id: str
    site: str
    reason: str
    resources: tuple[str, ...]
    until: int
    by: str
    origin: Literal["hub", "site"]
    node: str = ""


async def make_holds(
    hub: Hub, sites: Sequence[str], *, resources: Sequence[str], seconds: int, reason: str, author: str
) -> list[HoldView]:
    """Hold everything, or the resources named, at some sites. [inv: every-hold-expires]

    Raises InputError, NotFoundError for an unknown site, ConflictError when a site has too many holds."""
    if problems := _problems(sites, resources, seconds, reason):
        raise InputError(problems)

    def making() -> tuple[list[HoldRow], Enacted]:
        now = hub.now()
        rows = []
        for name in dict.fromkeys(sites):
            site = hub.fleet.site(name).row.name
            if sum(row.site == site for row in hub.fleet.holds.values()) >= MAX_HOLDS:
                raise ConflictError(f"{site} has {MAX_HOLDS} holds already", reason="TooManyHolds")
            until = now + seconds * 1000
            kept = tuple(sorted(set(resources)))
            rows.append(HoldRow(secrets.token_hex(4), site, reason.strip(), kept, seconds, until, author, now))
        detail = {"holds": [{"id": row.id, "site": row.site, "until": row.until} for row in rows], "reason": reason}
        subjects = tuple(f"Site/{row.site}" for row in rows)
        change = Change(holds={row.id: row for row in rows})
        return rows, hub.enact(change, Note(author, "hold", subjects, detail))

    rows, enacted = await hub.database.call(making)
    hub.tell(enacted)
    return [_view(row) for row in rows]


def _problems(sites: Sequence[str], resources: Sequence[str], seconds: int, reason: str) -> list[Problem]:
    found = []
    if not sites:
        found.append(Problem("name at least one site", path="sites"))
    if not 0 < seconds <= MAX_SECONDS:
        found.append(Problem(f"a hold lasts 1 second to {MAX_SECONDS // 86_400} days", path="seconds"))
    if not reason.strip() or len(reason) > MAX_TEXT:
        found.append(Problem(f"a hold needs a reason of at most {MAX_TEXT} characters", path="reason"))
    if len(resources) > MAX_RESOURCES:
        found.append(Problem(f"more than {MAX_RESOURCES} resources", path="resources", hint="hold everything"))
    for number, key in enumerate(resources):
        if not 0 < len(key) <= MAX_KEY or "/" not in key:
            found.append(Problem(f"{key[:80]!r} is not Kind/name", path=f"resources[{number}]"))
    return found


async def release_holds(hub: Hub, names: Sequence[str], *, author: str) -> list[HoldView]:
    """End holds made here before their time: by id, or all of a site. Raises NotFoundError."""

    def releasing() -> tuple[list[HoldRow], Enacted]:
        rows: dict[str, HoldRow] = {}
        for name in names:
            chosen = [row for row in hub.fleet.holds.values() if name in (row.id, row.site)]
            if not chosen:
                raise NotFoundError(f"no hold {name!r} was made here", reason="NoSuchHold", hint="holdfast get holds")
            rows |= {row.id: row for row in chosen}
        ended = sorted(rows.values(), key=lambda row: row.id)
        return ended, _ended(hub, ended, Note(author, "release", (), {"holds": [row.id for row in ended]}))

    rows, enacted = await hub.database.call(releasing)
    hub.tell(enacted)
    return [_view(row) for row in rows]


def _ended(hub: Hub, rows: Sequence[HoldRow], note: Note) -> Enacted:
    subjects = tuple(sorted({f"Site/{row.site}" for row in rows}))
    return hub.enact(Change(holds={row.id: None for row in rows}), msgspec.structs.replace(note, subjects=subjects))


async def list_holds(hub: Hub, site: str = "") -> list[HoldView]:
    """Return the holds that stand, of one site or of all, the first to end first."""

    def listing(connection: sqlite3.Connection) -> list[HoldView]:
        wanted = hub.fleet.site(site).row.name if site else None
        now = hub.now()
        own = [_view(row) for row in hub.fleet.holds.values() if wanted in (None, row.site) and row.until > now]
        made = {(row.site, row.id) for row in hub.fleet.holds.values()}
        for node in status.nodes(connection, hub.partitions, wanted):
            for hold in node.status.holds if node.status is not None else ():
                if (node.site, hold.id) not in made and hold.until > now:
                    shown = HoldView(
                        hold.id, node.site, hold.reason, hold.resources, hold.until, hold.by, "site", node.node
                    )
                    own.append(shown)
        return sorted(own, key=lambda each: (each.until, each.site, each.id))

    return await hub.store.read(listing)


def _view(row: HoldRow) -> HoldView:
    return HoldView(row.id, row.site, row.reason, row.resources, row.until, row.author, "hub")


async def expire_holds(hub: Hub) -> list[SiteName]:
    """Take holds that are over out of the targets; return their sites. Sites ended them themselves already."""

    def expiring() -> tuple[list[HoldRow], Enacted | None]:
        now = hub.now()
        over = [row for row in hub.fleet.holds.values() if row.until <= now]
        if not over:
            return [], None
        detail = {"holds": [row.id for row in over]}
        return over, _ended(hub, over, Note("hub", "hold-expired", (), detail))

    rows, enacted = await hub.database.call(expiring)
    if enacted is not None:
        hub.tell(enacted)
    return sorted({row.site for row in rows})


async def run_expiry(hub: Hub) -> None:
    """Expire holds, for ever."""
    while True:
        with contextlib.suppress(
            TransientError
        ):  # a full disk: they are over all the same, and the next turn tries again
            await expire_holds(hub)
        await hub.clock.sleep(EVERY)
