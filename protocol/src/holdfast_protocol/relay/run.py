"""A bridge at work: two connections, each taking one way and giving the other, and a queue between them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Literal

import anyio
import msgspec

from holdfast_protocol.bridging.rules import Route
from holdfast_protocol.bridging.standing import BridgeState, Stand, Way
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.inputs import Material
from holdfast_protocol.relay.give import Giver, Giving, News
from holdfast_protocol.relay.queue import Queue
from holdfast_protocol.relay.renewal import run_renewal
from holdfast_protocol.relay.take import BATCH, Taker, Taking
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link
from holdfast_protocol.runtime.mqtt import Connected, Connection, Dial, Options

TIDY: Final = 5.0  # seconds between two looks for what is too old
QUIET: Final = 3  # attempts to connect that fail before a side counts as broken
FINAL: Final = ("Refused", "TakenOver", "NotTrusted")  # trying again will hardly help: said at once
IN_FLIGHT: Final = 2 * BATCH
MAX_PACKET: Final = 2 * 1024 * 1024  # bytes

Side = Literal["local", "remote"]


class Plan(msgspec.Struct, frozen=True):
    """What a bridge does: `own` is its mark, `product` what its remote is."""

    own: str
    out: tuple[Route, ...]
    into: tuple[Route, ...]
    local: Options
    remote: Options
    window: int = 100
    product: str = ""
    materials: Mapping[str, Material] = {}
    marks: Mapping[str, str] = {}  # of those that are files

    @property
    def uses_local(self) -> bool:
        """Whether it has business with the broker of its own: one that only says readings has none."""
        return bool(self.into) or any(not each.of_readings for each in self.out)


class Relay:
    """One bridge. `news["out"].tell()` after whoever else puts something into the queue."""

    def __init__(
        self, plan: Plan, queue: Queue, state: BridgeState, clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.queue = queue
        self.state = state
        self.news: dict[Way, News] = {"out": News(), "in": News()}
        self._plan = plan
        self._clock = clock
        self._changed = changed
        self._untidy = False  # the last tidying found no room
        state.problem = queue.damage
        if not plan.uses_local:
            state.sides.pop("local", None)

    async def run(
        self, dial: Dial, *, giving: Giving | None = None, remote: Callable[[], Options] | None = None
    ) -> None:
        """Run until cancelled. `giving` speaks to the remote instead of plain publishing; `remote` says how to connect then.

        Raises PermanentError when the queue cannot be used any more, TransientError `Renewed`.
        """
        plan = self._plan
        await self._tidy()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_tidying)
            if plan.marks:
                group.start_soon(run_renewal, plan.materials, plan.marks, self._clock)
            if plan.uses_local:
                side = _Side(self._taker("out", plan.local), self._giver("in", plan.local))
                group.start_soon(self._run_side, dial, lambda: plan.local, "local", side)
            taker, giver = self._taker("in", plan.remote), giving or self._giver("out", plan.remote)
            taker.hears = giver.hears
            side = _Side(taker, giver)
            await self._run_side(dial, remote or (lambda: plan.remote), "remote", side)

    def put(self, way: Way, stand: Stand) -> None:
        """Note what was taken in, and have it given on."""
        self._stand(way, stand)
        self.news[way].tell()

    def sent(self, way: Way, stand: Stand) -> None:
        self.state.rates[way].count(stand.sent - self.state.stands[way].sent, self._clock.boottime())
        self._stand(way, stand)

    def _stand(self, way: Way, stand: Stand) -> None:
        self.state.stands[way] = stand
        self.state.ran = self.queue.ran()

    def _taker(self, way: Way, options: Options) -> Taker:
        plan = self._plan
        unmarked = 4 in (plan.local.version, plan.remote.version)
        product = plan.product if way == "out" else ""
        routes = plan.out if way == "out" else plan.into
        topics = tuple(each for each in routes if not each.of_readings)
        taker = Taker(
            Taking(way, topics, plan.own, options.version, product, unmarked), self.queue, self._clock, self.put
        )
        taker.problem = self._note
        return taker

    def _giver(self, way: Way, options: Options) -> Giver:
        marks = options.version == 5
        return Giver(
            way,
            self.queue,
            self._clock,
            self.news[way],
            self.sent,
            own=self._plan.own,
            window=self._plan.window,
            marks=marks,
        )

    async def _run_side(self, dial: Dial, options: Callable[[], Options], name: Side, side: "_Side") -> None:
        await run_link(dial, options, side.run, self._clock, on_state=partial(self._tell, name))

    def _tell(self, name: Side, link: LinkState) -> None:
        state = self.state.sides[name]
        before = (state.phase, state.reason)
        if link.doing == "settled":
            state.phase, state.reason, state.problem = "connected", "", ""
        elif link.doing == "waiting":
            bad = link.failures >= QUIET or link.reason in FINAL
            state.phase = "connecting"
            state.reason, state.problem = (link.reason, link.message) if bad else ("", "")
        if (state.phase, state.reason) != before:
            state.since = int(self._clock.wall() * 1000)
            self._changed()

    def _note(self, problem: str) -> None:
        problem = problem or self.queue.damage
        if problem != self.state.problem:
            self.state.problem = problem
            self._changed()

    async def _run_tidying(self) -> None:
        while True:
            await self._clock.sleep(TIDY)
            await self._tidy()

    async def _tidy(self) -> None:
        try:
            stands = await self.queue.database.call(self.queue.tidy)
        except TransientError as error:
            self._untidy = True
            self._note(f"{error.reason}: {error.message}")
            return
        if self._untidy:
            self._untidy = False
            self._note("")
        for way, stand in stands.items():
            self._stand(way, stand)


class _Side:
    def __init__(self, taker: Taker, giver: Giving) -> None:
        self._taker = taker
        self._giver = giver

    async def run(self, connection: Connection, connected: Connected) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._giver.run, connection, connected)
            await self._taker.run(connection, connected)


def bounded(options: Options) -> Options:
    """Return options with what every connection of a bridge has."""
    return msgspec.structs.replace(
        options,
        receive_maximum=IN_FLIGHT,
        max_packet=MAX_PACKET,
        queue=2 * IN_FLIGHT,
        with_properties=options.version == 5,
    )
