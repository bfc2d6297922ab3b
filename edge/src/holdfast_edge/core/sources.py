"""What is known of one source of device data: shown as its status, and by `holdfast-edge ingest`."""

from typing import Final, Literal

import msgspec

MAX_SHOWN: Final = 200  # characters of what a stranger sent, wherever it is shown
SPAN: Final = 60.0  # seconds over which a rate is taken

Phase = Literal["starting", "connecting", "connected", "waiting", "failed"]


class Tally(msgspec.Struct, array_like=True):
    """How many messages were rejected for one reason, and the first of them."""

    count: int
    topic: str
    message: str
    place: str = ""  # of the rule that could not


class SourceState(msgspec.Struct):
    """Counted since the agent started. `waiting`: connected, and nothing can be committed (the disk is full)."""

    phase: Phase = "starting"
    reason: str = ""  # a CamelCase word, "" while nothing is wrong
    problem: str = ""
    messages: int = 0
    readings: int = 0
    dropped: int = 0  # messages a rule drops by intent
    shaped: int = 0  # readings that shaping found not worth sending, or made part of an aggregate
    repeated: int = 0  # messages that came again and are stored already
    rejected: dict[str, Tally] = {}
    last_message_at: int = 0  # milliseconds since 1970, 0: none yet
    since: float = 0.0  # of the span the rate is counted over, seconds since boot
    counted: int = 0  # readings in it
    per_s: float = 0.0  # readings a second, over the last full span or what there is of it
    orders: str = (
        ""  # why commands and desired properties do not get on, a CamelCase word; "" while they do, or none go
    )

    def taken(self, readings: int, now: float) -> None:
        """Count readings for the rate; `now` in seconds since boot."""
        if now - self.since >= SPAN:
            self.per_s = self.counted / (now - self.since) if self.since else 0.0
            self.since, self.counted = now, 0
        self.counted += readings

    def rate(self, now: float) -> float:
        """Return readings a second."""
        span = now - self.since
        if span > 2 * SPAN or not self.since:
            return 0.0
        return round(self.counted / span if span >= SPAN / 6 and not self.per_s else self.per_s, 3)


def tally(held: dict[str, Tally], reason: str, topic: str, message: str, place: str = "") -> None:
    """Count one rejected message."""
    found = held.get(reason)
    if found is None:
        found = held[reason] = Tally(0, printable(topic), printable(message), place)
    found.count += 1


def printable(text: str) -> str:
    """Return what a stranger sent as plain text of bounded length."""
    return text[:MAX_SHOWN].encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


_CONTROLS: Final = {number: f"\\x{number:02x}" for number in (*range(32), 127)}
