"""Holds: a person's "leave it alone", for everything or for named resources, and always for a time.

[inv: every-hold-expires] Within the boot that made it a hold ends by time since boot, which no clock change moves. In a
later boot it ends when the wall clock says so, or at the latest when that boot has lasted as long as the hold was for:
a machine whose clock starts in 1970 after each power cut lets go too.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast_protocol.wire.messages import Hold
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import HubHold

MAX_SECONDS: Final = 30 * 24 * 3600


class Kept(msgspec.Struct, frozen=True):
    """A hold and the clock it was made by."""

    hold: Hold
    boot_id: str
    made_at: float  # seconds since boot
    seconds: float  # how long it was made for
    remote: bool = False  # made at the hub: it stands in the target, and ends with it
    over: bool = False  # of the hub, ended before it left the target: remembered, so that it does not begin again


class Moment(msgspec.Struct, frozen=True):
    """Now, told to the core: seconds since 1970, seconds since boot, and which boot."""

    wall: float
    boottime: float
    boot_id: str


def remaining(kept: Kept, now: Moment) -> float:
    """Return for how many more seconds the hold stands; 0 when it has expired."""
    return 0.0 if kept.over else left(kept.boot_id, kept.made_at, kept.seconds, kept.hold.until, now)


def left(boot_id: str, made_at: float, seconds: float, until: int, now: Moment) -> float:
    """Return what is left of `seconds` that began at `made_at` of a boot; `until` is the end by the wall clock, in ms."""
    if boot_id == now.boot_id:
        return max(made_at + seconds - now.boottime, 0.0)
    return max(min(until / 1000 - now.wall, seconds - now.boottime), 0.0)


def received(hold: HubHold, now: Moment) -> Kept:
    """Return a hold of the hub as it begins here: what is over stays over, what is left is not more, and by a clock that
    is late it counts from now, for as long as it was made for. A jump lengthens neither."""
    rest = min(max(min(hold.until / 1000 - now.wall, hold.seconds), 0.0), float(MAX_SECONDS))
    shown = Hold(hold.id, hold.reason, int((now.wall + rest) * 1000), hold.by, hold.resources)
    return Kept(shown, now.boot_id, now.boottime, rest, remote=True, over=rest <= 0)


def active(every: Iterable[Kept], now: Moment) -> tuple[Hold, ...]:
    """Return the holds that stand, oldest end first."""
    standing = [kept.hold for kept in every if remaining(kept, now) > 0]
    return tuple(sorted(standing, key=lambda hold: (hold.until, hold.id)))


def covering(key: ResourceKey, standing: Iterable[Hold]) -> Hold | None:
    """Return the first hold that covers `key`; None when it may be changed."""
    return next((hold for hold in standing if not hold.resources or key in hold.resources), None)
