"""Drop-ins: how the unit they change is judged, and a unit they have broken comes back with what they said before."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest

from holdfast_edge.providers.port import Observed, Scope
from holdfast_edge.providers.systemd.drop_ins import DropInProvider
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio
UNIT = "press.service"
BAD = "[Service]\nEnvironment=MODE=bad\n"
RUNNING = UnitState(UNIT, load="loaded", active="active", sub="running")


class Systemd:
    """One unit, which ends whenever it is started with a drop-in that says `bad`. `cut`: everything ends before a restart;
    `slow`: a restart stays under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = RUNNING
        self.starts = 0
        self.cut = self.slow = False

    async def states(self, names: Sequence[str], *, fresh: bool) -> Mapping[str, UnitState]:
        return dict.fromkeys(names, self.state)

    async def reload(self) -> None: ...

    async def reset_failed(self, name: str) -> None:
        self.set(active="inactive", sub="dead")

    async def restart(self, name: str, *, only_if_up: bool = False) -> None:
        if only_if_up and self.state.active in {"inactive", "failed"}:
            return
        self.starts += 1
        bad = any(b"bad" in path.read_bytes() for path in self.folder.glob(f"{UNIT}.d/*"))
        if self.slow:
            self.set(active="deactivating", sub="stop-sigterm", job="restart")
        elif bad:
            self.set(active="failed", sub="failed", result="exit-code", status=3)
        else:
            self.state = RUNNING
        if self.cut:
            raise TransientError("the power is gone")

    def set(self, **fields: str | int) -> None:
        self.state = msgspec.structs.replace(self.state, **fields)

    def follow(self, names: Collection[str]) -> None: ...

    async def run_signals(self, wake: Callable[[], None]) -> None: ...


class Bench:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = Home("unix:path=/nowhere", folder / "units", folder, folder / "run")
        self.systemd = Systemd(folder / "units")
        self.start_anew()

    def start_anew(self) -> None:
        self.provider = DropInProvider(cast(SystemdBackend, self.systemd), self._home, state=self._folder / "state")

    async def look(self, wanted: Resource) -> Observed:
        return (await self.provider.observe([wanted], Scope({wanted.key: wanted})))[wanted.key]

    async def apply(self, wanted: Resource) -> Observed:
        await self.provider.apply(wanted, Scope({wanted.key: wanted}))
        seen = await self.look(wanted)
        assert seen.as_wanted, seen.differences
        return seen


def drop_in(text: str, name: str = "mode", *, restart: bool = True) -> Resource:
    spec = {"unit": UNIT, "dropIns": {name: text}, "restart": restart}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "SystemdDropIn", "metadata": {"name": "it"}, "spec": spec}
    return target.resource(body)


GOOD = drop_in("[Service]\nEnvironment=MODE=good\n")


@pytest.fixture
def it(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_while_the_unit_is_being_restarted_nothing_is_ready(it: Bench) -> None:
    it.systemd.slow = True
    seen = await it.apply(GOOD)
    assert (seen.readiness, seen.reason) == ("progressing", "Stopping")
    it.systemd.set(active="inactive", sub="dead", job="start")
    assert (await it.look(GOOD)).readiness == "progressing"
    it.systemd.state = RUNNING
    assert (await it.look(GOOD)).readiness == "ready"


async def test_a_unit_that_fails_with_them_is_said_and_in_the_status(it: Bench) -> None:
    seen = await it.apply(drop_in(BAD))
    assert (seen.readiness, seen.reason) == ("degraded", "ExitCode")
    assert seen.status["conditions"][0]["status"] == "False"
    it.start_anew()
    assert (await it.look(drop_in(BAD))).readiness == "degraded"
    it.systemd.set(active="activating", sub="auto-restart")
    assert (await it.look(drop_in(BAD))).readiness == "degraded"


@pytest.mark.parametrize("name", ["mode", "other"])
async def test_a_unit_they_have_broken_runs_again_with_what_they_said_before(it: Bench, name: str) -> None:
    await it.apply(GOOD)
    await it.apply(drop_in(BAD, name))
    it.start_anew()
    assert (await it.apply(GOOD)).readiness == "ready"
    assert it.systemd.state == RUNNING


async def test_a_unit_they_have_broken_runs_again_when_they_go(it: Bench) -> None:
    await it.apply(drop_in(BAD))
    it.start_anew()
    await it.provider.remove(drop_in(BAD).key, drop_in(BAD).body)
    assert it.systemd.state == RUNNING
    assert not list(it.systemd.folder.glob("*/*"))


async def test_that_it_ran_before_is_known_after_a_cut_right_after_the_restart(it: Bench) -> None:
    it.systemd.cut = True
    with pytest.raises(TransientError):
        await it.apply(drop_in(BAD))
    it.systemd.cut = False
    it.start_anew()
    assert (await it.apply(GOOD)).readiness == "ready"
    assert it.systemd.state == RUNNING


async def test_a_unit_that_was_broken_or_stopped_before_them_is_not_their_doing(it: Bench) -> None:
    it.systemd.set(active="failed", sub="failed", result="exit-code")
    assert (await it.apply(drop_in(BAD))).readiness == "ready"
    it.systemd.set(active="inactive", sub="dead", result="")
    assert (await it.apply(GOOD)).readiness == "ready"
    assert it.systemd.starts == 0
    it.systemd.set(active="failed", sub="failed", result="exit-code")
    assert (await it.look(GOOD)).readiness == "degraded", "it was started with them, and failed"


async def test_a_unit_is_restarted_once_for_a_file_with_another_name(it: Bench) -> None:
    await it.apply(drop_in("[Service]\n", "a"))
    await it.apply(drop_in("[Service]\n", "b"))
    assert it.systemd.starts == 2
    assert [path.name for path in it.systemd.folder.glob(f"{UNIT}.d/*")] == ["b.conf"]
