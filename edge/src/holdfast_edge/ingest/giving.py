"""Giving orders over one connection, whatever it speaks: published by templates of topics, and answers read by them.

A command is published once, whatever happens: noted before it leaves, it is not published again after a kill in between,
and ends without an answer instead. [inv: intent-before-effect]
"""

from collections.abc import Callable
from typing import Final, Protocol

import anyio
import msgspec

from holdfast_edge.store.orders import Desired, Order, Orders
from holdfast_protocol.errors import PublishRefused, TransientError, WireError
from holdfast_protocol.kinds.carriers import filled, read_topic
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.commands import MAX_DATA, MAX_DEPTH, Outcome, depth

LOOK: Final = 1.0  # seconds, when the store names none
AGAIN: Final = 60.0  # seconds until orders are looked at without a reason


class Way(msgspec.Struct, frozen=True):
    """Templates of topics. "": this way carries no commands, or no desired properties."""

    command: str = "commands/{device}/{name}"  # {"id", "name", "deadline", "data"}
    answer: str = "answers/{device}/{id}"  # any JSON; {"error": …} is a failure
    desired: str = "desired/{device}"  # retained: {"version", "properties"}


class Carrier(Protocol):
    """A connection; every method may raise LinkLost, `publish` PublishRefused."""

    async def publish(self, topic: str, payload: bytes, deadline: int) -> None:
        """Return when the broker has it; `deadline` in milliseconds since 1970 is when it is of no use any more, 0: it is
        to stand there until another takes its place."""
        ...

    async def answer(self) -> tuple[str, bytes]:
        """Return the topic and content of the next answer; the one before is recorded."""
        ...


class Giver:
    """`mine` says whether a device is reached this way. Run `run` while a connection lives."""

    def __init__(self, orders: Orders, clock: Clock, way: Way, mine: Callable[[str], bool]) -> None:
        self._orders = orders
        self._clock = clock
        self._way = way
        self._mine = mine

    async def run(self, carrier: Carrier) -> None:
        async with anyio.create_task_group() as group:
            if self._way.answer:
                group.start_soon(self._run_answers, carrier)
            told: dict[str, int] = {}
            while True:
                changed, again = self._orders.changed, AGAIN
                try:
                    await self._give(carrier, told)
                except TransientError as error:  # what cannot be noted now is not given now
                    again = error.after or LOOK
                with anyio.move_on_after(again):
                    await changed.wait()

    async def _give(self, carrier: Carrier, told: dict[str, int]) -> None:
        for wanted in await self._orders.desired() if self._way.desired else ():
            if self._mine(wanted.device) and told.get(wanted.device) != wanted.version:
                await self._stand(carrier, wanted)
                told[wanted.device] = wanted.version
        for order in await self._orders.open() if self._way.command else ():
            if order.state != "taken" or order.deadline <= self._now() or not self._mine(order.device):
                continue
            if await self._orders.give(order.id):
                topic = filled(self._way.command, order.device, order.name, order.id)
                try:
                    await carrier.publish(topic, _order(order), order.deadline)
                except PublishRefused:
                    await self._end(order.device, order.id, "failed", "Refused", None)

    async def _stand(self, carrier: Carrier, wanted: Desired) -> None:
        try:
            await carrier.publish(filled(self._way.desired, wanted.device), _desired(wanted), 0)
        except PublishRefused:
            return  # the twin shows that it is not settled; the next version is tried again

    async def _run_answers(self, carrier: Carrier) -> None:
        while True:
            await self._take(*await carrier.answer())

    async def _take(self, topic: str, payload: bytes) -> None:
        """Record an answer; what is none, or of nothing that was asked, changes nothing.
        [inv: one-bad-message-never-blocks-a-queue]"""
        said = read_topic(self._way.answer, topic)
        if said is None:
            return
        device, name = said
        try:
            answer = strict.parse(payload or b"null", limit=MAX_DATA)
        except WireError as error:
            await self._end(device, name, "failed", error.reason, None)
            return
        if not name and isinstance(answer, dict):
            name = str(answer.get("id", ""))
        if depth(answer) > MAX_DEPTH:
            await self._end(device, name, "failed", "TooDeep", None)
        elif isinstance(answer, dict) and answer.get("error"):
            await self._end(device, name, "failed", "DeviceError", answer)
        else:
            await self._end(device, name, "answered", "", answer)

    async def _end(self, device: str, name: str, outcome: Outcome, reason: str, answer: object) -> None:
        await until_ended(self._orders, self._clock, device, name, outcome, reason, answer)

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)


async def until_ended(
    orders: Orders, clock: Clock, device: str, name: str, outcome: Outcome, reason: str, answer: object
) -> None:
    """Return when an order has ended, by this or before; waits while the disk is full."""
    while True:
        try:
            await orders.end(name, device, outcome, reason, answer, int(clock.wall() * 1000))
        except TransientError as error:
            await clock.sleep(error.after or LOOK)
        else:
            return


def _order(order: Order) -> bytes:
    return msgspec.json.encode({"id": order.id, "name": order.name, "deadline": order.deadline, "data": order.data})


def _desired(wanted: Desired) -> bytes:
    return msgspec.json.encode({"version": wanted.version, "properties": wanted.properties})
