"""A site's loops over a real database, a fake provider and a fake clock."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast_edge.core.deferral import NotNow
from holdfast_edge.core.report import Origin
from holdfast_edge.core.transaction import Limits
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.assembly import Pace, assemble
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

TRUST = Trust(FLEET, SITE, {HUB.keyid: HUB.public}, {HUB.keyid: 1})
LIMITS = Limits(prepare=300.0, progress=120.0, soak=60.0)
PACE = Pace(look_every=30.0, observe_within=0.2, change_within=0.5, limits=LIMITS)


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
        self, folder: Path, *providers: FakeProvider, clock: FakeClock | None = None, boot: str = "boot", **more: Any
    ) -> None:
        """`more` is for assemble: not_now, quality."""
        more.setdefault("not_now", NotNow(folder=str(folder / "not-now")))
        self.clock = clock or FakeClock()
        self.providers = providers or (FakeProvider("File"),)
        self.provider = self.providers[0]
        self.outbox = FakeOutbox()
        origin = Origin(FLEET, SITE, NodeName("node-1"), boot)
        self.site: Site = assemble(
            folder, origin, TRUST, Registry(self.providers), self.clock, PACE, jitter=lambda: 1.0, **more
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

    async def passes(self, seconds: float) -> None:
        """Let time pass once both loops wait for it: before, they would count from the time after."""

        def idle() -> bool:
            waiting = 3 if self.site.preparer.tried().trouble else 2  # the loops, and a lane that prepares
            return self.clock.sleepers >= waiting and not self.site.executor.running and not self.site.wakes.pending

        await eventually(idle, "the loops to rest")
        self.clock.advance(seconds)

    def condition(self, key: str) -> tuple[str, str]:
        status = self.site.board.status
        assert status is not None
        return next((each.condition.type, each.condition.reason) for each in status.resources if each.key == key)

    def close(self) -> None:
        self.database.close()
