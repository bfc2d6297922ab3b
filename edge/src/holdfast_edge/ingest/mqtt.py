"""A broker on the site's LAN: what devices publish is taken, committed, and only then acknowledged."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from holdfast_edge.ingest.intake import BATCH, Intake, Message
from holdfast_edge.ingest.memory import entry_of
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Dial, Options, Subscription

WITHIN: Final = 0.008  # seconds that the first message of a batch waits for others
IN_FLIGHT: Final = 2 * BATCH  # messages a broker may send before the first is acknowledged
UNCONFIRMED: Final = 1_000  # messages acknowledged without knowing that the broker has read so: it may take its time
MOST: Final = 12_000  # of them, before taking stops until it has
MAX_PACKET: Final = 1024 * 1024  # bytes, as in site.conf


async def run_mqtt(
    dial: Dial,
    make_options: Callable[[], Options],
    topics: Sequence[str],
    intake: Intake,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
) -> None:
    """Take what is published to `topics` until cancelled."""
    taking = _Taking(intake, tuple(topics), clock)
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await run_link(dial, make_options, taking.run, clock, on_state=on_state)


class _Taking:
    def __init__(self, intake: Intake, topics: tuple[str, ...], clock: Clock) -> None:
        self._intake = intake
        self._topics = topics
        self._clock = clock
        self._is_asking = False

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Take everything a connection delivers; ends by LinkLost."""
        if not connected.session_present:
            self._intake.forget()  # a new session counts its packets from 1
        async with anyio.create_task_group() as group:
            group.start_soon(self._subscribe, connection)
            await self._take(connection, group)

    async def _subscribe(self, connection: Connection) -> None:
        # Retained values are asked for once, not again as new readings at every reconnect.
        try:
            await connection.subscribe([Subscription(topic, retained=1) for topic in self._topics], beside=True)
        except LinkLost as lost:
            if lost.reason == "Refused":
                raise
            return  # who takes sees it too, and commits first what was delivered
        settled()

    async def _take(self, connection: Connection, group: TaskGroup) -> None:
        acknowledged: list[bytes] = []
        self._is_asking = False
        while True:
            if len(acknowledged) >= MOST:
                await connection.round_trip()
                self._intake.confirm(acknowledged)
                acknowledged = []
            elif len(acknowledged) >= UNCONFIRMED and not self._is_asking:
                self._is_asking = True
                group.start_soon(self._confirm, connection, acknowledged)
                acknowledged = []
            batch, lost = await self._gather(connection)
            await self._commit(batch)  # also when the connection is lost: its broker may have died with the message
            if lost is not None:
                raise lost
            for delivery, message in batch:
                connection.acknowledge(delivery)
                acknowledged.append(message.entry)

    async def _confirm(self, connection: Connection, entries: list[bytes]) -> None:
        """Ask beside the taking what the broker has read: behind a backlog its answer may be long in coming."""
        with contextlib.suppress(LinkLost):  # who takes sees it too, and commits first what was delivered
            await connection.round_trip(beside=True)
            self._intake.confirm(entries)
            self._is_asking = False

    async def _gather(self, connection: Connection) -> tuple[list[tuple[Delivery, Message]], LinkLost | None]:
        """Return deliveries as messages, and why there will be no more."""
        while True:
            delivery = await connection.receive()
            message = self._message(delivery)
            if not (message.repeated and self._intake.is_known(message.entry)):
                break
            connection.acknowledge(delivery)  # at once, so that even a link that never lives long gets on
        batch = [(delivery, message)]
        try:
            with anyio.move_on_after(WITHIN):
                while len(batch) < BATCH:
                    delivery = await connection.receive()
                    batch.append((delivery, self._message(delivery)))
        except LinkLost as lost:
            return batch, lost
        return batch, None

    def _message(self, delivery: Delivery) -> Message:
        entry = entry_of(delivery.mid, delivery.topic, delivery.payload) if delivery.qos else b""
        received = int(self._clock.wall() * 1000)
        return Message(delivery.topic, delivery.payload, received, entry, delivery.duplicate)

    async def _commit(self, batch: Sequence[tuple[Delivery, Message]]) -> None:
        await self._intake.take([message for _, message in batch])
