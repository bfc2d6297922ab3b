"""A site that makes risky changes on trial, and what is around it: a hub that answers or not, and a guard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from holdfast_edge.core.trial import Limits
from holdfast_edge.reconcile.dead_man import DeadMan, Safety
from holdfast_edge.store.contact import Contact
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.target import Target
from support.builders import a_target, file_body
from support.clock import FakeClock
from support.provider import FakeProvider
from support.site import TestSite


class World:
    """What there is around: a hub that answers or not, and a guard that only remembers."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.contact = Contact()
        self.reaches = True
        self.answers = True
        self.ground: tuple[str, ...] = ("address", "gateway")
        self.armed: list[str] = []
        self.refuses: TransientError | None = None
        self.gate: anyio.Event | None = None  # what arming waits for

    async def arm(self, trial: str, seconds: float) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        self.armed.append(trial)

    async def disarm(self) -> None:
        self.armed.clear()

    async def connects(self) -> bool:
        if self.reaches and self.answers:
            self.contact.heard(self.clock.boottime())
        return self.reaches

    async def around(self) -> tuple[str, ...]:
        return self.ground

    def safety(self) -> Safety:
        return Safety(Limits(within_s=60.0), self.contact, self, self.connects, self.around)


class Site(TestSite):
    def __init__(self, folder: Path, world: World, provider: FakeProvider, boot: str = "boot") -> None:
        super().__init__(folder, provider, clock=world.clock, boot=boot, safety=world.safety())
        self.world = world

    @property
    def dead_man(self) -> DeadMan:
        assert self.site.dead_man is not None
        return self.site.dead_man

    async def until(self, probe: Callable[[], Any], what: str, step: float = 0.5, turns: int = 400) -> None:
        await super().until(probe, what, step, turns)

    def alarms(self) -> list[str]:
        return [str(each.body.get("reason")) for _, each in self.outbox.records if each.kind == "Alarm"]


def firewall(text: str) -> dict[str, Any]:
    metadata = {"name": "edge"}
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": "Firewall", "metadata": metadata, "spec": {"ruleset": text}}


def wall(text: str, generation: int, **files: str) -> Target:
    bodies = [file_body(name, f"/srv/{name}", content) for name, content in files.items()]
    return a_target(firewall(text), *bodies, generation=generation)


def stands(it: Site) -> str:
    body = it.provider.world.get("Firewall/edge")
    return str(body["spec"]["ruleset"]) if body else ""


def said(it: TestSite) -> tuple[str, str]:
    status = it.site.board.status
    every = status.resources if status is not None else ()
    found = [(each.condition.type, each.condition.reason) for each in every if each.key == "Firewall/edge"]
    return found[0] if found else ("", "")


async def kept(it: Site, text: str, generation: int) -> None:
    await it.give(wall(text, generation))
    await it.until(lambda: stands(it) == text, "it")
    await it.until(lambda: not it.dead_man.on_trial, "the trial to end")
    await it.until(lambda: it.site.targets.last_good == wall(text, generation).digest, "last-good")
    assert stands(it) == text
