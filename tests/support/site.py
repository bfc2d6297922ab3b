"""A site's loops over a real database, a fake provider and a fake clock."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anyio.lowlevel import checkpoint

from holdfast_edge.core.deferral import NotNow
from holdfast_edge.core.report import Origin
from holdfast_edge.core.transaction import Limits
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.assembly import Given, Pace, assemble
from holdfast_edge.reconcile.ladder import run_ladder
from holdfast_edge.reconcile.loop import run_reconcile
from holdfast_edge.reconcile.site import Site
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.reconcile.watches import run_watch
from holdfast_edge.store.targets import Trust
from holdfast_protocol.wire import target
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.names import NodeName
from holdfast_protocol.wire.records import encode
from support.builders import FLEET, HUB, SITE
from support.clock import FakeClock, eventually
from support.provider import FakeProvider
from support.waiting import HANGS_S

TRUST = Trust(FLEET, SITE, {HUB.keyid: HUB.public}, {HUB.keyid: 1})
LIMITS = Limits(prepare=300.0, progress=120.0, soak=60.0)
PACE = Pace(look_every=30.0, observe_within=HANGS_S, change_within=HANGS_S, limits=LIMITS)
TURNS = 20  # of the event loop; a task needs a few of them to get up
IMPATIENT = Pace(look_every=30.0, observe_within=0.2, change_within=0.5, limits=LIMITS)  # where the deadlines count


class FakeOutbox:
    """Takes records, or raises what it is told to."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Record]] = []
        self.trouble: Exception | None = None

    async def append_records(self, stream: str, records: Sequence[Record], *, keys: Any = None) -> None:
        if self.trouble is not None:
            raise self.trouble
        encode(records)  # refuses what the real one refuses
        self.records += [(stream, record) for record in records]

    def said(self) -> list[str]:
        bodies = [record.body for _, record in self.records if record.kind == "TargetReport"]
        return [f"{body['level']} {body['outcome']}" for body in bodies]


class TestSite:
    """Opened over `folder`; opening a second one over it is a restart."""

    __test__ = False

    def __init__(
        self,
        folder: Path,
        *providers: FakeProvider,
        clock: FakeClock | None = None,
        boot: str = "boot",
        pace: Pace = PACE,
        **more: Any,
    ) -> None:
        """`more` is for what is given to assemble: not_now, quality."""
        more.setdefault("not_now", NotNow(folder=str(folder / "not-now")))
        self.clock = clock or FakeClock()
        self.providers = providers or (FakeProvider("File"),)
        self.provider = self.providers[0]
        self.outbox = FakeOutbox()
        origin = Origin(FLEET, SITE, NodeName("node-1"), boot)
        self.site: Site = assemble(
            Given(folder, origin, TRUST, Registry(self.providers), self.clock, pace, jitter=lambda: 1.0, **more)
        )
        self.database = self.site.database
        self.news = Wakes(self.clock)

    def loops(self) -> list[Any]:
        async def watch() -> None:
            await run_watch(self.site, self.provider)

        return [
            lambda: run_reconcile(self.site),
            lambda: run_ladder(self.site, self.outbox, self.news),
            watch,
        ]

    async def give(self, wanted: target.Target) -> None:
        """Hand over a target as the inbox does."""
        envelope = target.seal(wanted, [HUB])
        opened = self.site.targets.open(envelope)
        await self.site.targets.accept(opened, envelope, at=int(self.clock.wall() * 1000), reason="received")
        self.site.wakes.wake()

    async def reaches(self, state: str, generation: int | None = None) -> None:
        def there() -> bool:
            status = self.site.board.status
            return status is not None and status.state == state and generation in (None, status.generation)

        await eventually(there, f"state {state}")

    @property
    def all_sleep(self) -> bool:
        """Whether every loop waits for time or for a wake, one that has come included."""
        dead_man, preparer = self.site.dead_man, self.site.preparer
        judges = self.clock.sleeps("DeadMan.run")
        if (
            self.site.executor.running
            or self.news.pending
            or (dead_man is not None and dead_man.on_trial and not judges)
        ):
            return False
        return self.clock.sleepers >= 2 + bool(preparer.tried().trouble) + judges

    async def rests(self) -> None:
        """Return once all has followed that follows without time passing."""
        while True:
            await eventually(lambda: self.all_sleep, "the loops to rest")
            for _ in range(TURNS):
                await checkpoint()
            if self.all_sleep:  # whoever was woken would have got up; only time ends the rest between two looks
                return

    async def passes(self, seconds: float) -> None:
        """Let time pass once both loops wait for it: before, they would count from the time after."""
        await self.rests()
        self.clock.advance(seconds)

    async def until(self, probe: Callable[[], Any], what: str, step: float, turns: int = 400) -> None:
        """Let time pass, so many seconds at a time and all that follows from them, until it is so at rest."""
        for _ in range(turns):
            await self.rests()
            if probe():
                return
            self.clock.advance(step)
        raise TimeoutError(f"waited for {what}")

    async def never(self, probe: Callable[[], Any]) -> None:
        """See that `probe` is false when nothing more happens before time passes."""
        await self.rests()
        assert not probe()

    def condition(self, key: str) -> tuple[str, str]:
        status = self.site.board.status
        assert status is not None
        return next((each.condition.type, each.condition.reason) for each in status.resources if each.key == key)

    def close(self) -> None:
        self.database.close()
