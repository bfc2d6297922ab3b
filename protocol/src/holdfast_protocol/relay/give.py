"""Giving: what waits in the queue is published in order, some at once, and deleted when the other side has acknowledged it.

A message that its broker refuses, or that ends every connection it is sent over, is dropped and counted: it does not stand
in the way of those behind it. [inv: one-bad-message-never-blocks-a-queue]
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio

from holdfast_protocol.bridging.standing import Stand, Way
from holdfast_protocol.errors import LinkLost, MisuseError, PublishRefused, TransientError, first_of
from holdfast_protocol.relay.queue import Queue, Row
from holdfast_protocol.relay.take import mark_of
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.mqtt import Connected, Connection

QUOTA: Final = 0x97  # reason code: later it may go
SUSPECT: Final = 3  # connections lost in a row with nothing acknowledged, before messages go one by one
GUILTY: Final = 6  # of them, before the one in front is dropped
RETRY: Final = 5.0  # seconds until a full disk is tried again
MOST_FLYING: Final = 4 * 1024 * 1024  # bytes on their way, but for a last message, before more are read from the queue

Send = Callable[[Connection, Row], Awaitable[None]]


class News:
    """Wakes who waits for messages; it says nothing of them. [inv: no-content-in-wakeups]"""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


class Giving(Protocol):
    """How one side is given what waits."""

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Give until the connection is lost; ends by LinkLost."""
        ...

    def hears(self, topic: str, payload: bytes) -> bool:
        """Return whether a message that came from that side is for whoever speaks there, and goes no further."""
        ...


class Giver:
    """`sent` is told how a way stands once more was acknowledged."""

    def __init__(
        self,
        way: Way,
        queue: Queue,
        clock: Clock,
        news: News,
        sent: Callable[[Way, Stand], None],
        *,
        own: str,
        window: int,
        marks: bool,
    ) -> None:
        self._way = way
        self._queue = queue
        self._clock = clock
        self._news = news
        self._sent = sent
        self._own = own
        self._window = window
        self._marks = marks
        self._barren = 0  # connections in a row that the broker ended before it acknowledged anything
        self._done: list[int] = []
        self._refused: list[tuple[int, str]] = []
        self._settling = anyio.Event()
        self._slots = anyio.Semaphore(0)
        self._flying = 0  # bytes
        self._landed = anyio.Event()

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Publish what waits and what comes, until the connection is lost."""
        window = 1 if self._barren >= SUSPECT else self._window
        self._done, self._refused, self._settling = [], [], anyio.Event()
        self._slots, self._flying = anyio.Semaphore(window), 0
        progress, first = _Progress(), 0
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run_settling, progress)
                after = 0
                while True:
                    rows = await self._queue.database.call(self._queue.page, self._way, after, window)
                    if not rows:
                        await self._news.wait()
                        continue
                    first = first or rows[0].number
                    for row in rows:
                        await self._slots.acquire()
                        await self._room()
                        self._flying += row.entry.size
                        group.start_soon(self._one, connection, row)
                        after = row.number
        except* LinkLost as group_error:
            lost = first_of(group_error)
            with anyio.CancelScope(shield=True):
                await self._judge(lost, first, progress)
            raise lost from None
        finally:
            with anyio.CancelScope(shield=True):
                await self._queue.database.call(self._queue.let_go, self._way)

    def hears(self, topic: str, payload: bytes) -> bool:
        return False

    async def _one(self, connection: Connection, row: Row) -> None:
        entry = row.entry
        try:
            properties = mark_of(entry, self._own) if self._marks else ()
            await connection.publish(
                entry.topic, entry.payload, qos=entry.qos, retain=entry.retain, properties=properties
            )
            self._done.append(row.number)
        except PublishRefused as refused:
            if refused.code == QUOTA:
                raise
            self._refused.append((row.number, "Refused"))
        except MisuseError as error:
            if error.reason != "TooLarge":
                raise
            self._refused.append((row.number, "TooLarge"))
        self._flying -= entry.size
        self._settling.set()
        self._landed.set()
        self._slots.release()

    async def _room(self) -> None:
        while self._flying >= MOST_FLYING:
            self._landed = anyio.Event()
            await self._landed.wait()

    async def _run_settling(self, progress: "_Progress") -> None:
        while True:
            await self._settling.wait()
            self._settling = anyio.Event()
            while (wait := await self._settle(progress)) > 0:
                await self._clock.sleep(wait)

    async def _settle(self, progress: "_Progress") -> float:
        """Return 0, or the seconds until a disk that takes nothing is to be tried again: nothing is settled then."""
        done, refused = self._done, self._refused
        if not done and not refused:
            return 0.0
        self._done, self._refused = [], []
        try:
            stand = await self._queue.database.call(self._queue.settle, self._way, done, refused)
        except TransientError as error:
            self._done, self._refused = done + self._done, refused + self._refused
            return error.after or RETRY
        progress.count += len(done) + len(refused)
        self._sent(self._way, stand)
        return 0.0

    async def _judge(self, lost: LinkLost, first: int, progress: "_Progress") -> None:
        """Settle what was acknowledged last, and find out whether the message in front ends its connections.

        What a full disk keeps from being settled goes over again."""
        await self._settle(progress)
        if progress.count or self._done or self._refused:
            self._barren = 0
        elif first and lost.reason == "Lost":
            self._barren += 1
        if self._barren >= GUILTY:
            self._refused.append((first, "EndsConnection"))
            await self._settle(progress)
            self._barren = SUSPECT


class _Progress:
    def __init__(self) -> None:
        self.count = 0  # messages settled over one connection
