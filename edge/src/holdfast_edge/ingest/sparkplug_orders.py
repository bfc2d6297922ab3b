"""Orders to Sparkplug devices: told once by a command, answered when the device's own data says that it is so.

[inv: intent-before-effect]
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from holdfast_edge.core.sparkplug.commands import is_so
from holdfast_edge.core.sparkplug.host import Publish
from holdfast_edge.ingest.giving import AGAIN, until_ended
from holdfast_edge.store.orders import Order, Orders
from holdfast_protocol.errors import PublishRefused, TransientError
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.commands import Outcome
from holdfast_protocol.wire.readings import Reading

OFFLINE: Final = 1.0  # seconds between two looks whether a device that has an order is online
Said = Callable[[Order], Awaitable[Publish | None]]


class Telling:
    """`source`: the key of the DeviceSource; its devices are told."""

    def __init__(self, orders: Orders, clock: Clock, source: str) -> None:
        self._orders = orders
        self._clock = clock
        self._source = source
        self._expected: dict[tuple[str, str], list[Order]] = {}  # by device and metric, what was given and not answered

    async def run(self, said: Said, publish: Callable[[Publish], Awaitable[None]]) -> None:
        """Tell devices for ever. `said` returns what an order is in Sparkplug, None while its device is away; raises Unfit."""
        while True:
            changed = self._orders.changed
            try:
                waits = await self._tell(said, publish)
            except TransientError:  # what cannot be noted now is not told now
                waits = True
            with anyio.move_on_after(OFFLINE if waits else AGAIN):
                await changed.wait()

    async def hear(self, readings: Sequence[Reading]) -> None:
        """End the orders that these readings, durable now, answer."""
        if not self._expected:
            return
        for reading in readings:
            key = (reading.device, reading.metric)
            for order in tuple(self._expected.get(key, ())):
                if reading.quality == "good" and is_so(reading.value, order.data):
                    answer = {"value": reading.value, "time": reading.time}
                    self._expected[key].remove(order)
                    await self._end(order, "answered", "", answer)

    async def _tell(self, said: Said, publish: Callable[[Publish], Awaitable[None]]) -> bool:
        """Return whether an order waits for its device."""
        waits = False
        mine = [order for order in await self._orders.open() if self._is_mine(order.device)]
        self._expected = {}
        for order in mine:
            if order.state == "given":
                self._expect(order)
        for order in mine:
            if order.state != "taken" or order.deadline <= int(self._clock.wall() * 1000):
                continue
            try:
                command = await said(order)
            except Unfit as unfit:
                await self._end(order, "failed", unfit.reason, None)
                continue
            if command is None:
                waits = True
            elif await self._orders.give(order.id):
                self._expect(order)
                try:
                    await publish(command)
                except PublishRefused:
                    await self._end(order, "failed", "Refused", None)
        return waits

    def _expect(self, order: Order) -> None:
        self._expected.setdefault((order.device, order.name), []).append(order)

    def _is_mine(self, device: str) -> bool:
        found = self._orders.whereabouts.place_of(device)
        return found is not None and found.source == self._source

    async def _end(self, order: Order, outcome: Outcome, reason: str, answer: object) -> None:
        await until_ended(self._orders, self._clock, order.device, order.id, outcome, reason, answer)
