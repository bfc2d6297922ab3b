"""The host application of a site's Sparkplug devices, from their broker into the outbox.

Sparkplug's data travels at QoS 0: what is sent while nobody listens is lost between the device and its broker, and shows
as a gap. Deaths, and nodes that publish at QoS 1, are acknowledged when durable, not before. [inv: commit-before-ack]
"""

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import anyio
import msgspec

from holdfast_edge.core.admission import Admission
from holdfast_edge.core.sparkplug.host import Host, Now, Outcome, Publish
from holdfast_edge.core.sparkplug.names import filters, state_topic
from holdfast_edge.core.sparkplug.rebirths import Node
from holdfast_edge.ingest.intake import BATCH
from holdfast_edge.ingest.memory import entry_of
from holdfast_edge.ingest.mqtt import WITHIN
from holdfast_edge.ingest.orders import TOO_LARGE
from holdfast_edge.ingest.sparkplug_orders import Telling
from holdfast_edge.ingest.taking import Taking
from holdfast_edge.store.orders import Order
from holdfast_protocol.errors import LinkLost, MisuseError, PublishRefused
from holdfast_protocol.kinds.device_source import Bounds
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link, settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Dial, Options, Subscription, Will

TICK: Final = 1.0  # seconds between two looks at what is due
CLAIM_EVERY: Final = 5.0  # seconds between two claims to be online when somebody says we are not
MEMBERS: Final = "members"  # the cursor beside the source's own: edge nodes that had a birth
MAX_BATCH: Final = 256 * 1024  # bytes: of the smallest metrics these are 40,000 readings
FAREWELL: Final = 2.0  # seconds for saying that we go


async def run_sparkplug(
    dial: Dial,
    make_options: Callable[[], Options],
    host_id: str,
    groups: tuple[str, ...],
    taking: Taking,
    clock: Clock,
    *,
    bounds: Bounds | None = None,
    believed: Callable[[], bool] = lambda: True,
    telling: Telling | None = None,
    on_state: Callable[[LinkState], None] = lambda _: None,
) -> None:
    """Be the host application until cancelled. `make_options` say how to reach the broker, the will apart; no `groups`:
    all of them; `believed` answers whether the wall clock is right; `telling`: there are orders for its devices."""
    admission = Admission(bounds or Bounds())
    application = _Application(make_options, host_id, groups, taking, clock, admission, believed, telling)
    async with anyio.create_task_group() as group:
        group.start_soon(application.taking.run_reports)
        await run_link(dial, application.options, application.run, clock, on_state=on_state)


class _Application:
    def __init__(
        self,
        make_options: Callable[[], Options],
        host_id: str,
        groups: tuple[str, ...],
        taking: Taking,
        clock: Clock,
        admission: Admission,
        believed: Callable[[], bool],
        telling: Telling | None,
    ) -> None:
        self.taking = taking
        self._make_options = make_options
        self._topics = filters(groups, host_id)
        self._clock = clock
        self._admission = admission
        self._believed = believed
        self._telling = telling
        self._state = state_topic(host_id)
        stored = taking.stored(MEMBERS)
        members = msgspec.msgpack.decode(stored, type=tuple[Node, ...]) if stored else ()
        self._host = Host(members, clock.boottime())
        self._revision = self._host.revision
        self._since = 0  # when this connection was begun, milliseconds since 1970
        self._claimed = -CLAIM_EVERY  # seconds since boot

    def options(self) -> Options:
        """Return how to connect now: the will names the same time as the claim to be online after it."""
        self._since = self.taking.now()
        will = Will(self._state, _state(False, self._since), retain=True)
        return msgspec.structs.replace(self._make_options(), will=will)

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Take everything a connection delivers; ends by LinkLost."""
        if not connected.session_present:
            self.taking.window.clear()  # a new session counts its packets from 1
        async with self.taking.lock:
            self._host.resume(connected.session_present, self._clock.boottime())
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._speak, connection)
                await self._run_intake(connection)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(FAREWELL):
                await self._say_farewell(connection)

    async def _speak(self, connection: Connection) -> None:
        """Say all that is not an answer to what comes."""
        handling = {self._state: 0}  # births and data that are retained would be from nobody knows when
        wanted = [Subscription(topic, retained=handling.get(topic, 2)) for topic in self._topics]
        try:
            await connection.subscribe(wanted, beside=True)
            await connection.publish(self._state, _state(True, self._since), retain=True)
            settled()
            async with anyio.create_task_group() as group:
                group.start_soon(self._run_ticks, connection)
                if self._telling is not None:
                    group.start_soon(self._telling.run, self._said, partial(_publish, connection))
        except* LinkLost as lost:
            if _is_refusal(lost):
                raise
            # Who takes sees it too, and commits first what was delivered.

    async def _run_intake(self, connection: Connection) -> None:
        while True:
            batch = await connection.receive_all(BATCH, WITHIN, MAX_BATCH)
            async with self.taking.together():
                outcome = Outcome()
                self.taking.state.messages += len(batch)
                self.taking.state.last_message_at = self.taking.now()
                for delivery in batch:
                    self._take(delivery, outcome)
                await self._commit(outcome)  # also when the connection is lost: its broker may have died with it
            with contextlib.suppress(LinkLost):  # what was read before is taken as well
                connection.acknowledge(*(each for each in batch if each.qos))
                await self._answer(connection, batch)

    async def _run_ticks(self, connection: Connection) -> None:
        while True:
            async with self.taking.lock:
                outcome = Outcome()
                self._host.pass_time(self._now(), outcome)
                if outcome.readings or outcome.events or outcome.rejected:
                    await self._commit(outcome)
                commands = self._host.commands(self._now())
            for command in commands:
                await connection.publish(command.topic, command.payload, qos=0)
            await self._clock.sleep(TICK)

    def _take(self, delivery: Delivery, outcome: Outcome) -> None:
        if delivery.topic == self._state:
            return
        if delivery.qos:
            entry = entry_of(delivery.mid, delivery.topic, delivery.payload)
            if delivery.duplicate and entry in self.taking.window:
                return
            self.taking.window.add(entry)
        if delivery.retain:
            rejection = Rejection(
                "Retained", "Sparkplug's births, data and deaths are not; whose it is and how old, nobody knows"
            )
            outcome.rejected.append((delivery.topic, rejection))
        else:
            before, now = len(outcome.readings), self._now()
            self._host.take(delivery.topic, delivery.payload, now, outcome)
            self._admit(delivery.topic, before, now, outcome)

    def _admit(self, topic: str, before: int, now: Now, outcome: Outcome) -> None:
        """Turn away what one message came to when it is too much, or of a time that cannot be."""
        if not self._admission.is_open and len(outcome.readings) > before:
            readings = outcome.readings[before:]
            refusal = self._admission.refusal(readings, now.wall, now.boottime, believed=self._believed())
            if refusal is not None:
                del outcome.readings[before:]
                outcome.rejected.append((topic, refusal))

    async def _commit(self, outcome: Outcome) -> None:
        for topic, rejection in outcome.rejected:
            self.taking.reject(topic, rejection)
        revision, members = self._host.revision, b""
        if revision != self._revision:
            members = msgspec.msgpack.encode(self._host.members)
        await self.taking.commit(outcome.readings, outcome.events, {MEMBERS: members} if members else {})
        self._revision = revision
        if self._telling is not None:
            await self._telling.hear(outcome.readings)

    async def _answer(self, connection: Connection, batch: Iterable[Delivery]) -> None:
        """Ask for the births that are due, and claim to be online where somebody, or an old will, says we are not."""
        for command in self._host.commands(self._now()):
            await connection.publish(command.topic, command.payload, qos=0)
        said = [delivery.payload for delivery in batch if delivery.topic == self._state]
        if said and said[-1] != _state(True, self._since) and self._clock.boottime() - self._claimed >= CLAIM_EVERY:
            self._claimed = self._clock.boottime()
            await connection.publish(self._state, _state(True, self._since), retain=True)

    async def _say_farewell(self, connection: Connection) -> None:
        try:
            await connection.publish(self._state, _state(False, self.taking.now()), retain=True)
        except LinkLost:
            return  # then the broker publishes the will

    async def _said(self, order: Order) -> Publish | None:
        async with self.taking.lock:
            return self._host.command(order.device, order.name, order.data, self._now())

    def _now(self) -> Now:
        return Now(self.taking.now(), self._clock.boottime())


async def _publish(connection: Connection, command: Publish) -> None:
    try:
        await connection.publish(command.topic, command.payload, qos=0)
    except MisuseError as error:
        if error.reason != "TooLarge":
            raise
        raise PublishRefused(command.topic, TOO_LARGE) from None


def _is_refusal(lost: BaseExceptionGroup[LinkLost]) -> bool:
    refused, _ = lost.split(lambda error: isinstance(error, LinkLost) and error.reason == "Refused")
    return refused is not None


def _state(online: bool, since: int) -> bytes:
    return msgspec.json.encode({"online": online, "timestamp": since})
