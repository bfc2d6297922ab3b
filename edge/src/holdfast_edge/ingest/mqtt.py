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

WITHIN: Final = 0.006  # seconds that the first message of a batch waits for others
TOGETHER: Final = 2 * BATCH  # messages committed together where so many wait: a slow disk costs less
IN_FLIGHT: Final = 2 * TOGETHER  # messages a broker may send before the first is acknowledged
UNCONFIRMED: Final = 1_000  # messages acknowledged without knowing that the broker has read so, before it is asked
MOST: Final = 50_000  # of them, before the connection is begun anew; fewer than the memory holds
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
    reception = _Reception(intake, tuple(topics))
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await run_link(dial, make_options, reception.run, clock, on_state=on_state)


class _Reception:
    """INVARIANT: no more than `MOST` messages are acknowledged without knowing that the broker has read so, and those are
    remembered."""

    def __init__(self, intake: Intake, topics: tuple[str, ...]) -> None:
        self._intake = intake
        self._topics = topics
        self._is_asking = False

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Take everything a connection delivers; ends by LinkLost, or when it wants another one."""
        self._intake.taking.begin(anew=not connected.session_present)  # a new session counts its packets from 1
        self._is_asking = False
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
        taking = self._intake.taking
        while taking.window.asked < MOST:
            deliveries = await connection.receive_all(TOGETHER, WITHIN)
            messages = self._messages(deliveries)
            if any(message.repeated for message in messages):
                deliveries, messages = self._unknown(connection, deliveries, messages)
            await self._intake.take(messages)
            # What was read before the connection was lost is taken as well: its broker may have died with it.
            with contextlib.suppress(LinkLost):
                connection.acknowledge(*deliveries)
            if taking.window.asked >= UNCONFIRMED and not self._is_asking:
                self._is_asking = True
                group.start_soon(self._confirm, connection, taking.mark())
        # The answer is behind a backlog: Mosquitto 2.0 lets a whole queue go at the first acknowledgements. An orderly end
        # is an answer too, and what waits comes again.
        mark = taking.mark()
        if await connection.leave():
            taking.confirm(mark)
            settled()

    def _unknown(
        self, connection: Connection, deliveries: list[Delivery], messages: list[Message]
    ) -> tuple[list[Delivery], list[Message]]:
        """Acknowledge at once what was taken before, so that even a link that never lives long gets on; return the rest."""
        is_known = [each.repeated and self._intake.is_known(each.entry) for each in messages]
        with contextlib.suppress(LinkLost):  # the rest is committed all the same
            connection.acknowledge(*(each for each, known in zip(deliveries, is_known, strict=True) if known))
        return (
            [each for each, known in zip(deliveries, is_known, strict=True) if not known],
            [each for each, known in zip(messages, is_known, strict=True) if not known],
        )

    async def _confirm(self, connection: Connection, mark: tuple[int, ...]) -> None:
        """Ask beside the taking what the broker has read: behind a backlog its answer may be long in coming."""
        with contextlib.suppress(LinkLost):  # who takes sees it too, and commits first what was delivered
            await connection.round_trip(beside=True)
            self._intake.taking.confirm(mark)
            self._is_asking = False

    def _messages(self, deliveries: Sequence[Delivery]) -> list[Message]:
        received = self._intake.taking.now()
        return [
            Message(
                each.topic,
                each.payload,
                received,
                entry_of(each.mid, each.topic, each.payload) if each.qos else b"",
                each.duplicate,
            )
            for each in deliveries
        ]
