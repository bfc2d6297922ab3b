"""Readings on their way into the outbox, handed to bridges first: both are durable before the device is told so."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.ingest.taking import Sink
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.readings import Reading

if TYPE_CHECKING:
    from holdfast_protocol.relay.readings import Feed

PATIENCE: Final = 10.0  # seconds that readings wait for the queue of a bridge that begins
MOST_TRIED: Final = 64  # appends that the outbox refused, before the oldest of them is forgotten


class Tee:
    """The outbox to whoever takes readings in. `expected` returns the bridges that want readings; it may block at first.

    A bridge that cannot keep readings counts them as dropped: it holds up neither the outbox nor the device.
    [inv: outbox-never-blocks-reconcile]
    """

    def __init__(self, outbox: Sink, expected: Callable[[], Collection[ResourceKey]] = tuple) -> None:
        self._outbox = outbox
        self._expected = expected
        self._is_known = False  # `expected` does not block any more
        self._feeds: dict[ResourceKey, Feed] = {}
        self._changed = anyio.Event()
        self._given_up: set[ResourceKey] = set()  # nobody waits for these until they have come once
        self._tried: dict[int, Sequence[Reading]] = {}  # by identity, what bridges have and the outbox refused

    def open(self, key: ResourceKey, feed: "Feed") -> None:
        """Hand readings to a bridge from now on."""
        self._feeds[key] = feed
        self._given_up.discard(key)
        self._tell()

    def close(self, key: ResourceKey) -> None:
        """Hand a bridge nothing more; its queue may be closed then."""
        feed = self._feeds.pop(key, None)
        if feed is not None:
            feed.is_closed = True
        self._tell()

    def has(self, key: ResourceKey) -> bool:
        return key in self._feeds

    async def append_readings(self, readings: Sequence[Reading], **more: Any) -> None:
        """As the outbox's; who tries again does so with the same object. A kill between the two lets the device's message
        come again: a bridge then says it twice."""
        if readings and self._tried.pop(id(readings), None) is None:
            await self._wait()
            for feed in tuple(self._feeds.values()):
                await feed.put(readings)
        try:
            await self._outbox.append_readings(readings, **more)
        except TransientError:
            if readings:
                self._tried[id(readings)] = readings
                if len(self._tried) > MOST_TRIED:
                    del self._tried[next(iter(self._tried))]
            raise

    async def append_records(self, stream: str, records: Sequence[Record]) -> None:
        await self._outbox.append_records(stream, records)

    def cursor(self, name: str) -> bytes:
        return self._outbox.cursor(name)

    async def _wait(self) -> None:
        """Return once every bridge that wants readings has its queue: the agent starts, or one is changed."""
        if not self._is_known:
            await anyio.to_thread.run_sync(self._expected)
            self._is_known = True
        if not self._missing():
            return
        with anyio.move_on_after(PATIENCE):
            while self._missing():
                await self._changed.wait()
        self._given_up |= self._missing()

    def _missing(self) -> set[ResourceKey]:
        return set(self._expected()) - self._feeds.keys() - self._given_up

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
