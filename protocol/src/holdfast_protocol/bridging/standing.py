"""How a bridge does: kept by its loops, shown by commands, carried in a node's status."""

from typing import Final, Literal

import msgspec

from holdfast_protocol.wire.messages import BridgeStatus, BridgeWay

SPAN: Final = 10.0  # seconds over which a rate is taken
MAX_TEXT: Final = 300  # characters of a problem

Way = Literal["out", "in"]
Phase = Literal["starting", "connecting", "connected", "failed"]
WAYS: Final[tuple[Way, ...]] = ("out", "in")


class Rate:
    """Messages a second over the last full span; 0 before there is one."""

    def __init__(self) -> None:
        self._since = -1.0
        self._counted = 0
        self._per_s = 0.0

    def count(self, messages: int, now: float) -> None:
        """Count; `now` in seconds since boot."""
        if self._since < 0:
            self._since = now
        elif now - self._since >= SPAN:
            self._per_s = self._counted / (now - self._since)
            self._since, self._counted = now, 0
        self._counted += messages

    def per_s(self, now: float) -> float:
        if self._since < 0 or now - self._since > 3 * SPAN:
            return 0.0
        return round(self._per_s or self._counted / max(now - self._since, 1.0), 2)


class SideState(msgspec.Struct):
    """One connection. `since` in milliseconds since 1970: when the phase began."""

    phase: Phase = "starting"
    reason: str = ""
    problem: str = ""
    since: int = 0


class Stand(msgspec.Struct, frozen=True):
    """What a queue holds of one way, as committed; received = sent + dropped + waiting. `oldest` in ms of running, -1: none."""

    received: int = 0
    sent: int = 0
    waiting: int = 0
    bytes: int = 0
    oldest: int = -1
    dropped: dict[str, int] = {}


class BridgeState:
    """INVARIANT: `stands` is what the queue committed last."""

    def __init__(self, name: str, sides: tuple[str, ...] = ("local", "remote")) -> None:
        self.name = name
        self.sides = {side: SideState() for side in sides}
        self.stands: dict[Way, Stand] = {way: Stand() for way in WAYS}
        self.rates = {way: Rate() for way in WAYS}
        self.ran = 0  # milliseconds the bridge has run in all, as the queue counts them
        self.problem = ""  # of the queue itself

    @property
    def is_connected(self) -> bool:
        return all(each.phase == "connected" for each in self.sides.values())

    def trouble(self) -> tuple[str, str]:
        """Return the reason and the message of what is wrong now, both "" when nothing is."""
        if self.problem:
            return "Queue", self.problem
        for name, each in self.sides.items():
            if each.reason:
                return each.reason, f"{name}: {each.problem}"
        return "", ""

    def status(self, now: float) -> BridgeStatus:
        """Return it as it travels; `now` in seconds since boot."""
        reason, problem = self.trouble()
        sides = self.sides.values()
        return BridgeStatus(
            name=self.name,
            connected=self.is_connected,
            since=max((each.since for each in sides), default=0),
            reason=reason,
            problem=problem[:MAX_TEXT],
            ways={way: self._way(way, now) for way in WAYS if self.stands[way].received or self.stands[way].dropped},
        )

    def _way(self, way: Way, now: float) -> BridgeWay:
        stand = self.stands[way]
        return BridgeWay(
            received=stand.received,
            sent=stand.sent,
            waiting=stand.waiting,
            bytes=stand.bytes,
            lag=max(self.ran - stand.oldest, 0) // 1000 if stand.oldest >= 0 else 0,
            per_s=self.rates[way].per_s(now),
            dropped=dict(sorted(stand.dropped.items())),
        )
