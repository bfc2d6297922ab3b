"""Inbox: a target comes in, is committed or refused, and only then acknowledged. [inv: commit-before-ack]"""

from collections.abc import Callable
from typing import Final

import anyio.to_thread

from holdfast_edge.store.targets import Targets
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime.clock import Clock

LARGE: Final = 64 * 1024  # bytes; larger ones are checked in a thread


class Inbox:
    def __init__(self, targets: Targets, clock: Clock, *, wake: Callable[[], None]) -> None:
        """`wake` is called, with nothing, after whatever changed. [inv: no-content-in-wakeups]"""
        self._targets = targets
        self._clock = clock
        self._wake = wake

    async def take(self, envelope: bytes) -> None:
        """Commit a target or record its refusal; when this returns the message may be acknowledged.

        An empty retained message is a broker's, not a hub's: it removes nothing. Raises TransientError when the disk
        refuses; the message then stays unacknowledged.
        """
        if not envelope:
            return
        at = int(self._clock.wall() * 1000)
        try:
            if len(envelope) > LARGE:
                target = await anyio.to_thread.run_sync(self._targets.open, envelope)
            else:
                target = self._targets.open(envelope)
        except WireError as error:
            await self._targets.refuse(error, envelope, at=at)
        else:
            await self._targets.accept(target, envelope, at=at, reason="received")
        self._wake()
