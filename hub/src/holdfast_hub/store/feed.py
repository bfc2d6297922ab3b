"""The feed: tells whoever waits that committed rows changed. Names, never content. [inv: no-content-in-wakeups]

Readers follow by number; one that was away longer than the feed remembers is told to look at everything again.
"""

import secrets
from collections import deque
from typing import Final, Literal

import anyio
import msgspec

REMEMBERED: Final = 2_000  # events
Kind = Literal["blueprint", "instance", "object", "site", "target", "readings", "command", "reset", "end"]


class Event(msgspec.Struct, frozen=True):
    number: int  # 1 upwards in one run of the process
    kind: Kind
    name: str


class Feed:
    """INVARIANTS: used only from the event loop; numbers only grow; a wake-up is never lost."""

    def __init__(self) -> None:
        self.run: Final = secrets.token_hex(4)
        self._events: deque[Event] = deque()
        self._number = 0
        self._dropped = 0  # the newest number that is remembered no more
        self._news = anyio.Event()

    def tell(self, kind: Kind, name: str) -> None:
        """Say that something committed changed. Said twice in a row it reaches a reader who was away only once."""
        self._number += 1
        if self._events and (self._events[-1].kind, self._events[-1].name) == (kind, name):
            self._events.pop()
        elif len(self._events) >= REMEMBERED:
            self._dropped = self._events.popleft().number
        self._events.append(Event(self._number, kind, name))
        self._news.set()
        self._news = anyio.Event()

    def follow(self, after: str = "") -> "Follower":
        """Return a reader of the events from this call on, or after the id (see `id_of`) a reader saw last."""
        run, _, number = after.partition("-")
        known = run == self.run and number.isascii() and number.isdigit() and int(number[:18]) <= self._number
        return Follower(self, int(number[:18]) if known else self._number, reset=bool(after) and not known)

    def id_of(self, event: Event) -> str:
        return f"{self.run}-{event.number}"

    async def after(self, number: int) -> Event:
        """Return the first event after a number, as soon as there is one; `reset` when it is remembered no more."""
        while number >= self._number:
            await self._news.wait()
        if number < self._dropped:
            return Event(self._number, "reset", "")
        found = self._events[-1]
        for event in reversed(self._events):  # readers are near the end
            if event.number <= number:
                break
            found = event
        return found


class Follower:
    """One reader's place in the feed. Giving up on `next` loses nothing."""

    def __init__(self, feed: Feed, at: int, *, reset: bool) -> None:
        self._feed = feed
        self._at = at
        self._reset = reset

    async def next(self) -> Event:
        if self._reset:
            self._reset = False
            return Event(self._at, "reset", "")
        event = await self._feed.after(self._at)
        self._at = event.number
        return event
