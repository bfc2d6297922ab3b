"""Sender: turns what the outbox holds into batches, while connected. Rows leave the outbox elsewhere, by the hub's word.

Every batch is derived from what the hub is known to hold, so a lost batch, a lost acknowledgement, a hub put back to an
older copy and a new connection are one case: what is missing is sent.
"""

from typing import Final

import anyio

from holdfast_edge.core.metering import Allowance
from holdfast_edge.link.flights import Flight, Flights, Want
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.meter import Meter
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Page
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime.mqtt import Connection
from holdfast_protocol.wire import batch, topics
from holdfast_protocol.wire.batch import Batch
from holdfast_protocol.wire.names import Incarnation
from holdfast_protocol.wire.topics import STREAM_CLASSES, Address

PROBE_AFTER: Final = 30.0  # seconds without an acknowledgement until one batch a stream is sent again
PROBE_AT_MOST: Final = 600.0
NOBODY: Final = 16  # the broker's reason code for a message without a subscriber


async def run_sender(
    connection: Connection,
    outbox: Outbox,
    identity: Identity,
    meter: Meter | None = None,
    *,
    probe_after: float = PROBE_AFTER,
    probe_at_most: float = PROBE_AT_MOST,
) -> None:
    """Send for as long as the connection lasts; ends with LinkLost or by cancellation only. `meter` None: no bounds."""
    try:
        async with anyio.create_task_group() as group:
            await _Sender(connection, outbox, identity, meter, group, (probe_after, probe_at_most)).run()
    except BaseExceptionGroup as errors:
        lost, others = errors.split(LinkLost)
        if lost is None or others is not None:
            raise
        raise LinkLost("the connection was lost while sending") from errors
    finally:
        with anyio.CancelScope(shield=True):
            await outbox.settle()


class _Sender:
    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        identity: Identity,
        meter: Meter | None,
        group: anyio.abc.TaskGroup,
        probes: tuple[float, float],
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._identity = identity
        self._meter = meter
        self._group = group
        self._probe_after, self._probe_at_most = probes
        self._flights: dict[str, tuple[Incarnation, Flights]] = {}
        self._nobody: set[str] = set()  # streams nobody listened to: quiet until the hub is heard
        self._topics = {
            name: topics.topic(Address("up", identity.site, identity.node, stream=name)) for name in STREAM_CLASSES
        }

    async def run(self) -> None:
        wait = self._probe_after
        heard = self._outbox.heard
        deadline = anyio.current_time() + wait
        while True:
            revision = self._outbox.revision
            if heard != self._outbox.heard:
                heard, wait = self._outbox.heard, self._probe_after
                deadline = anyio.current_time() + wait
                self._nobody.clear()
            if await self._send_one():
                continue
            allowance = self._meter.allowance() if self._meter else Allowance(True)
            again = deadline if allowance.allowed else min(deadline, anyio.current_time() + allowance.again)
            with anyio.move_on_at(again):
                await self._outbox.changed(revision)
            if anyio.current_time() >= deadline:
                self._probe()
                wait = min(2 * wait, self._probe_at_most)
                deadline = anyio.current_time() + wait

    async def _send_one(self) -> bool:
        """Send the most urgent batch; return whether there was one."""
        allowed = self._meter is None or self._meter.allowance().allowed
        for name, state in self._outbox.states().items():
            flights = self._flights_of(name)
            view = self._outbox.view(name)
            flights.take(view, anyio.current_time())
            want = None if name in self._nobody else flights.want(view, state.high, history=allowed)
            if want is None:
                continue
            page = await self._outbox.read(name, want.first, want.upto, flights.pace.batch)
            if page is not None and page.incarnation == state.incarnation:
                await self._send(name, flights, want, page)
                return True
        return False

    def _flights_of(self, name: str) -> Flights:
        """Return a stream's flights; a new incarnation begins with an empty one, and all of it is history."""
        state = self._outbox.states()[name]
        incarnation, flights = self._flights.get(name, ("", None))
        if flights is None or incarnation != state.incarnation:
            flights = Flights(state.high, in_order=name != "p3")
            self._flights[name] = (Incarnation(state.incarnation), flights)
        return flights

    async def _send(self, name: str, flights: Flights, want: Want, page: Page) -> None:
        sealed = batch.seal(
            Batch(
                kind="batch",
                v=1,
                fleet=self._identity.fleet,
                site=self._identity.site,
                node=self._identity.node,
                stream=name,
                incarnation=page.incarnation,
                origin=page.origin,
                high=page.high,
                first=page.first,
                historical=want.historical,
                before=page.before,
                after=page.after,
                segments=page.segments,
            ),
            self._identity.signer,
        )
        if self._meter is not None and want.historical:
            await self._meter.spend(len(sealed))
        now = anyio.current_time()
        flight = flights.sent(page.first, page.last, historical=want.historical, size=len(sealed), now=now)
        self._group.start_soon(self._publish, name, flights, flight, sealed)

    async def _publish(self, name: str, flights: Flights, flight: Flight, sealed: bytes) -> None:
        if await self._connection.publish(self._topics[name], sealed) == NOBODY:
            flights.give_up(flight)
            self._nobody.add(name)

    def _probe(self) -> None:
        self._nobody.clear()
        for _, flights in self._flights.values():
            flights.probe()
