"""A machine that restarts when its agent asks, the agent of its site, and targets that want it to."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast_edge.control import planned
from holdfast_edge.core.reboots import Ground
from holdfast_edge.core.transaction import ENDED
from holdfast_edge.reconcile.rebooter import Restarting
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.wire.messages import RebootStatus
from holdfast_protocol.wire.reboots import Policy, Request
from holdfast_protocol.wire.target import Content, Target, resource
from holdfast_protocol.wire.windows import carry
from support.builders import a_target, file_body
from support.clock import FakeClock
from support.provider import FakeProvider
from support.site import TestSite

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
NIGHTS = {"schedule": {"cron": "0 2 * * *", "duration": "2h"}, "gates": ["reboots"], "timeZone": "UTC"}
REQUIRED = Policy("nightly", "required", grace=60, minimum_uptime=3600, attempts=2)
AT_ONCE = Policy("at-once", "required", grace=60, minimum_uptime=0)


class Machine:
    """What outlives the agent: the clock, what asks for a boot, and how often one was made."""

    def __init__(self) -> None:
        self.clock = FakeClock(wall=NOON, boottime=10_000.0)
        self.ground = Ground()
        self.boots = 0
        self.restarts = 0
        self.flushed: list[int] = []
        self.notices: list[dict[str, object] | None] = []
        self.trouble: ProviderError | None = None

    def restarting(self, *, allowed: bool = True) -> Restarting:
        async def ground() -> Ground:
            return self.ground

        async def restart() -> None:
            if self.trouble is not None:
                raise self.trouble
            self.restarts += 1

        async def announce(said: dict[str, object] | None) -> None:
            self.notices.append(said)

        async def flush() -> None:
            self.flushed.append(self.restarts)

        return Restarting(allowed, ground, restart, announce, flush)

    def boot(self, *, helps: bool = True) -> None:
        """End what runs, as a restart or a power cut does. The time since boot begins anew."""
        self.boots += 1
        self.clock = FakeClock(wall=self.clock.wall() + 40, boottime=5.0)
        if helps:
            self.ground = Ground()


class Site(TestSite):
    def __init__(self, folder: Path, machine: Machine, *, allowed: bool = True, **more: Any) -> None:
        self.machine = machine
        provider = more.pop("provider", None) or FakeProvider("File")
        boot = f"boot-{machine.boots}"
        super().__init__(
            folder, provider, clock=machine.clock, boot=boot, restarting=machine.restarting(allowed=allowed), **more
        )

    @property
    def said(self) -> RebootStatus:
        status = self.site.board.status
        return (status.reboot if status is not None else None) or RebootStatus()

    def told(self, kind: str = "Audit") -> list[str]:
        word = "what" if kind == "Audit" else "reason"
        return [str(each.body[word]) for _, each in self.outbox.records if each.kind == kind]

    def plan(self) -> list[dict[str, str]]:
        assert self.site.view is not None
        return planned(self.site.view, self.site)

    async def until(self, probe: Callable[[], Any], what: str, step: float = 10.0, turns: int = 400) -> None:
        await super().until(probe, what, step, turns)

    async def settled(self) -> None:
        it = self.site.transactions
        await self.until(lambda: it.current is not None and it.current.stage in ENDED, "the target to be reached")

    async def restarted(self, count: int = 1) -> None:
        await self.until(lambda: self.machine.restarts == count, f"restart {count}")

    async def stays(self, hours: float = 2.0) -> None:
        """Let hours pass, in steps, and see that the machine does not restart."""
        before, steps = self.machine.restarts, max(int(hours * 6), 5)
        for _ in range(steps):
            await self.passes(hours * 3600 / steps)
        await self.rests()
        assert self.machine.restarts == before


def wanted(*policies: Policy, generation: int = 1, content: str = "x", annotations: Any = None, **more: Any) -> Target:
    body = file_body("a", "/srv/a", content)
    if annotations:
        body["metadata"]["annotations"] = annotations
    windows = tuple(carry(name, spec) for name, spec in more.pop("windows", {}).items())
    made = Content(resources=(resource(body),), reboot_policies=policies, windows=windows, **more)
    return a_target(content=made, generation=generation)


def asked(seconds: int = 7200, name: str = "r1") -> Request:
    return Request(name, "new disks", int((NOON + seconds) * 1000), seconds, "ann")


def needed(machine: Machine, *packages: str) -> None:
    machine.ground = Ground(required=True, packages=packages)
