"""Each profile's budgets are those the parts keep to: read from edge.toml, handed on by the agent, held by who works."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_edge import agent, settings
from holdfast_edge.core.profiles import TABLE, Name
from holdfast_edge.providers.container.engine import Engine, Image
from holdfast_edge.providers.container.images import Images
from holdfast_edge.store.newest import Newest
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.messages import StreamAck
from holdfast_protocol.wire.readings import Reading
from support.builders import a_target, file_body
from support.clock import Running, eventually, never
from support.provider import FakeProvider
from support.site import PACE, TestSite
from support.streams import SMALL, STAMP, open_outbox, readings
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
SETTINGS = """
fleet = "acme"
site = "press-01"
state_dir = "state"
key_file = "node.key"
hub = {host = "127.0.0.1", port = 1}
trust.keys = [{public = "ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY="}]
"""


class Told(Exception):
    """The agent has said what it hands on."""


def read(folder: Path, text: str) -> settings.Settings:
    (folder / "edge.toml").write_text(text)
    return settings.read(folder / "edge.toml")


@pytest.mark.parametrize("name", TABLE)
async def test_a_profile_named_in_edge_toml_is_what_the_agent_hands_to_its_parts(
    name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(tmp_path, f'profile = "{name}"\n' + SETTINGS)
    (tmp_path / "node.key").write_text("ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=")
    told: dict[str, Any] = {}

    def opened(folder: Path, **budgets: Any) -> Outbox:
        told.update(budgets)
        raise Told

    monkeypatch.setattr(Outbox, "open", opened)
    with pytest.raises(ExceptionGroup) as ended:
        await agent.run_agent(found, tmp_path / "edge.toml")
    assert ended.group_contains(Told)
    profile = TABLE[name]
    assert {key: told[key] for key in ("rows_at_once", "batches_at_once", "newest_kept")} == {
        key: getattr(profile.budgets, key) for key in ("rows_at_once", "batches_at_once", "newest_kept")
    }
    assert {key: getattr(told["quotas"], key) for key in profile.quotas} == dict(profile.quotas)
    pace = agent._pace(found)
    assert (pace.at_once, pace.look_every) == (profile.budgets.changes_at_once, profile.look_every_s)


def test_a_file_without_a_profile_has_that_of_the_machine_s_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "memory_mb", lambda: 400)
    found = read(tmp_path, SETTINGS + "[quotas]\np3 = 5000000\n")
    assert (found.profile, found.budgets) == ("micro", TABLE["micro"].budgets)
    assert (found.quotas.p3, found.quotas.p2) == (5_000_000, TABLE["micro"].quotas["p2"])


@pytest.mark.parametrize("at_once", [1, 2])
async def test_no_more_is_changed_or_prepared_at_a_time_than_is_allowed(at_once: int, tmp_path: Path) -> None:
    kinds = ("File", "Sysctl", "Package", "User")
    providers = [FakeProvider(kind) for kind in kinds]
    it = TestSite(tmp_path, *providers, pace=msgspec.structs.replace(PACE, at_once=at_once))

    def changed() -> int:
        return sum(len(each.changes()) for each in providers)

    def bodies(text: str) -> list[dict[str, Any]]:
        return [{**file_body("a", f"/srv/{kind}", text), "kind": kind} for kind in kinds]

    async with Running(*it.loops()):
        gates = [anyio.Event() for _ in providers]
        for provider, gate in zip(providers, gates, strict=True):
            provider.gate = gate
        await it.give(a_target(*bodies("one")))
        await eventually(lambda: changed() == at_once, "the first changes")
        await never(lambda: changed() > at_once)
        for provider, gate in zip(providers, gates, strict=True):
            provider.gate = None
            gate.set()
        await it.reaches("Converged")
        await it.passes(60)
        await eventually(lambda: it.site.targets.last_good, "a target to keep while the next one is prepared")
        for provider in providers:
            provider.prepare_gate = anyio.Event()
        await it.give(a_target(*bodies("two"), generation=2))
        await eventually(lambda: sum(len(each.prepared) for each in providers) == at_once, "the first to be prepared")
        await never(lambda: sum(len(each.prepared) for each in providers) > at_once)
    it.close()


class SlowRegistry(Engine):
    """An engine whose pulls wait, and that knows how many do."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere.sock")
        self.go = threading.Event()
        self.pulling = 0
        self.most = 0
        self.fetched: list[str] = []
        self._count = threading.Lock()

    async def image(self, reference: str) -> Image | None:
        return Image("1", "", reference) if reference in self.fetched else None

    def pull(self, reference: str, logins: Mapping[str, Any], said: Any) -> None:
        with self._count:
            self.pulling += 1
            self.most = max(self.most, self.pulling)
        self.go.wait(HANGS_S)
        with self._count:
            self.pulling -= 1
            self.fetched.append(reference)


def _plan(image: str) -> Any:
    return SimpleNamespace(image=image, pull="IfNotPresent", container="main", non_root=False)


async def test_no_more_images_are_fetched_at_a_time_than_is_allowed_whoever_wants_them() -> None:
    engine, turns = SlowRegistry(), threading.BoundedSemaphore(2)
    deployments, jobs = Images(engine, turns), Images(engine, turns)
    for number in range(3):
        for images in (deployments, jobs):
            with pytest.raises(TransientError, match="being pulled"):
                await images.ensure(_plan(f"{id(images)}-{number}:1"), wait_s=0.01)
    await eventually(lambda: engine.pulling == 2, "two pulls")
    assert any("waits for others" in text for text in jobs.progress([f"{id(jobs)}-2:1"]).values())
    engine.go.set()
    await eventually(lambda: len(engine.fetched) == 6, "all of them")
    assert engine.most == 2


async def test_a_stream_has_no_more_batches_under_way_than_is_allowed_whatever_the_hub_grants(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, quotas=SMALL, stamp=lambda: STAMP, batches_at_once=2)
    await outbox.append_readings(readings(1, 3))
    incarnation = outbox.states()["p3"].incarnation
    await outbox.acknowledge(StreamAck("p3", incarnation, 0, credit=40))
    assert outbox.view("p3").credit == 2
    outbox.close()


async def test_a_transaction_takes_no_more_rows_than_is_allowed(tmp_path: Path) -> None:
    transactions = 0

    def stamp() -> Stamp:
        nonlocal transactions
        transactions += 1  # each is stamped once
        return STAMP

    outbox = Outbox.open(tmp_path, quotas=SMALL, stamp=stamp, rows_at_once=10)
    before = transactions
    async with anyio.create_task_group() as group:
        for first in range(1, 400, 5):
            group.start_soon(outbox.append_readings, readings(first, 5))
    assert transactions - before >= 40
    assert outbox.states()["p3"].high == 400
    outbox.close()


def test_of_more_series_than_are_kept_those_heard_of_longest_ago_are_forgotten() -> None:
    newest = Newest(kept=2)
    newest.take([Reading("a", "m", 1, 1), Reading("b", "m", 2, 2), Reading("a", "m", 3, 3), Reading("c", "m", 4, 4)])
    assert [(each.device, each.value) for each in newest.readings()] == [("a", 3), ("c", 4)]


async def test_after_a_restart_the_newest_readings_are_those_the_hub_does_not_have_yet(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    await outbox.append_readings([Reading("scale", "weight", 1, 1.5, "kg"), Reading("oven", "door", 1, True)])
    await outbox.append_readings([Reading("scale", "weight", 2, 2.5, "kg")])
    outbox.close()
    outbox = open_outbox(tmp_path)
    found = [(each.device, each.metric, each.value) for each in outbox.newest.readings()]
    assert found == [("oven", "door", True), ("scale", "weight", 2.5)]
    outbox.close()


async def test_a_pull_nobody_came_back_for_is_not_fresh_for_ever() -> None:
    engine, seconds = SlowRegistry(), [0.0]
    images, plan = Images(engine, clock=lambda: seconds[0]), _plan("press:1")
    plan.pull = "Always"
    with pytest.raises(TransientError, match="being pulled"):
        await images.ensure(plan, wait_s=0.01)
    engine.go.set()
    await eventually(lambda: engine.fetched == ["press:1"], "the first")
    seconds[0] = 600.0  # whoever waits longest between two tries
    await images.ensure(plan)
    assert engine.fetched == ["press:1"]
    await images.ensure(plan)
    assert engine.fetched == ["press:1"] * 2
    engine.go.clear()
    with pytest.raises(TransientError, match="being pulled"):
        await images.ensure(plan, wait_s=0.01)
    engine.go.set()
    await eventually(lambda: engine.fetched == ["press:1"] * 3, "the third")
    seconds[0] = 1_000_000.0
    await images.ensure(plan)
    assert engine.fetched == ["press:1"] * 4
