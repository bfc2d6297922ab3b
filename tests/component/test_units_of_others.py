"""Units and settings that were there before us: what a newer target says no more of them is given back, also after a cut."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast_edge.providers.port import Observed, Provider, Scope
from holdfast_edge.providers.systemd.clock import TIMESYNCD, TimeProvider
from holdfast_edge.providers.systemd.foreign import ForeignUnitProvider
from holdfast_edge.providers.systemd.home import Home
from holdfast_edge.providers.systemd.port import SystemdBackend, UnitState
from holdfast_edge.providers.systemd.provider import UnitProvider
from holdfast_edge.providers.systemd.zone import Zone
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("only-owned-things-are-removed")]
OWNER = ResourceKey("Time/clock")


class Systemd(SystemdBackend):
    """Units as they are told to be, at once. `cut_at`: the call after which everything ends."""

    def __init__(self, *units: str) -> None:
        self.units = {
            name: UnitState(name, load="loaded", file_state="disabled", active="inactive", sub="dead") for name in units
        }
        self.cut_at = ""
        self.read = 0  # times it was told to read its files again

    async def states(self, names: Sequence[str], *, fresh: bool) -> Mapping[str, UnitState]:
        return {name: self.units.get(name, UnitState(name)) for name in names}

    def _set(self, call: str, name: str, **fields: str) -> None:
        self.units[name] = msgspec.structs.replace(self.units[name], **fields)
        if call == self.cut_at:
            raise TransientError("the power is gone")

    async def reload(self) -> None:
        self.read += 1
        if self.cut_at == "reload":
            raise TransientError("the power is gone")
        for name, state in list(self.units.items()):
            if state.load == "not-found":
                self.units[name] = msgspec.structs.replace(state, load="loaded", file_state="disabled")

    async def enable(self, name: str, *, again: bool = False) -> None:
        self._set("enable", name, file_state="enabled")

    async def disable(self, name: str, *, runtime: bool = False) -> None:
        self._set("disable", name, file_state="disabled")

    async def start(self, name: str) -> None:
        self._set("start", name, active="active", sub="running")

    async def restart(self, name: str, *, only_if_up: bool = False) -> None: ...

    async def refresh(self, name: str) -> None: ...

    async def stop(self, name: str, *, within: float) -> bool:
        self._set("stop", name, active="inactive", sub="dead")
        return True

    async def reset_failed(self, name: str) -> None: ...

    def follow(self, names: Collection[str]) -> None: ...

    async def run_signals(self, wake: Callable[[], None]) -> None: ...

    def stands(self, name: str) -> tuple[str, str]:
        return self.units[name].active, self.units[name].file_state


def asked(kind: str, name: str, **spec: Any) -> Resource:
    return target.resource(
        {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


async def look(provider: Provider, wanted: Resource) -> Observed:
    return (await provider.observe([wanted], Scope({wanted.key: wanted})))[wanted.key]


async def converge(provider: Provider, wanted: Resource) -> None:
    """As the loop does: what is as wanted is left alone."""
    for _ in range(3):
        if (await look(provider, wanted)).as_wanted:
            return
        await provider.apply(wanted, Scope({wanted.key: wanted}))
    raise AssertionError((await look(provider, wanted)).differences)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home("unix:path=/nowhere", tmp_path / "units", tmp_path, tmp_path / "run")


async def test_what_a_target_says_no_more_of_a_unit_is_given_back(home: Home, tmp_path: Path) -> None:
    systemd = Systemd("cups.service")
    provider = ForeignUnitProvider(systemd, home, state=tmp_path / "state")
    await converge(provider, asked("SystemdUnit", "cups.service", enabled=True, running=True))
    assert systemd.stands("cups.service") == ("active", "enabled")

    await converge(provider, asked("SystemdUnit", "cups.service", running=True))
    assert systemd.stands("cups.service") == ("active", "disabled")
    await provider.remove(ResourceKey("SystemdUnit/cups.service"), {})
    assert systemd.stands("cups.service") == ("inactive", "disabled")


async def test_a_cut_while_it_is_given_back_leaves_it_to_be_done(home: Home, tmp_path: Path) -> None:
    systemd = Systemd("cups.service")
    provider = ForeignUnitProvider(systemd, home, state=tmp_path / "state")
    await converge(provider, asked("SystemdUnit", "cups.service", enabled=True, running=True))
    less = asked("SystemdUnit", "cups.service", enabled=True)
    systemd.cut_at = "stop"
    with pytest.raises(TransientError):
        await provider.apply(less, Scope({less.key: less}))
    systemd.cut_at = ""
    await converge(provider, less)
    assert systemd.stands("cups.service") == ("inactive", "enabled")

    await systemd.start("cups.service")  # by a person, after ours was given back
    await provider.remove(less.key, {})
    assert systemd.stands("cups.service") == ("active", "disabled")


async def test_a_kill_between_the_files_and_their_reading_leaves_systemd_with_none_of_ours(
    home: Home, tmp_path: Path
) -> None:
    systemd = Systemd()
    systemd.units["job.service"] = UnitState("job.service")
    home.units.mkdir()
    job = asked("SystemdService", "job", unit="[Service]\nExecStart=/bin/true\n", running="onDemand")
    await UnitProvider(systemd, home, state=tmp_path / "state").apply(job, Scope({job.key: job}))
    assert (home.units / "job.service").exists()
    systemd.cut_at = "reload"
    with pytest.raises(TransientError):
        await UnitProvider(systemd, home, state=tmp_path / "state").remove(job.key, job.body)
    assert not (home.units / "job.service").exists()
    systemd.cut_at, systemd.read = "", 0
    await UnitProvider(systemd, home, state=tmp_path / "state").remove(job.key, job.body)
    assert systemd.read == 1


async def test_what_a_target_says_no_more_of_the_clock_is_given_back(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    systemd = Systemd(TIMESYNCD)
    provider = TimeProvider(systemd, state=tmp_path / "state", etc=etc, synchronized=tmp_path / "synchronized")
    await converge(provider, asked("Time", "clock", timezone="UTC", ntp=True, ntpServers=["192.0.2.1"]))
    assert systemd.stands(TIMESYNCD) == ("active", "enabled")
    assert list(etc.glob("systemd/timesyncd.conf.d/*"))

    await converge(provider, asked("Time", "clock", timezone="UTC", ntp=True))
    assert not list(etc.glob("systemd/timesyncd.conf.d/*"))
    assert systemd.stands(TIMESYNCD) == ("active", "enabled")

    await converge(provider, asked("Time", "clock", timezone="UTC"))
    assert systemd.stands(TIMESYNCD) == ("inactive", "disabled")


def test_a_cut_between_the_link_of_a_zone_and_its_name_leaves_a_difference(tmp_path: Path) -> None:
    etc, zones = tmp_path / "etc", tmp_path / "zones"
    for name in ("UTC", "Europe/Paris"):
        (zones / name).parent.mkdir(parents=True, exist_ok=True)
        (zones / name).write_bytes(b"TZif2")
    etc.mkdir()
    (etc / "timezone").write_text("Etc/UTC\n")
    zone = Zone(etc, tmp_path / "state", zones)
    zone._owned.put_link(OWNER, str(etc / "localtime"), str(zones / "Europe/Paris"))  # and no further

    again = Zone(etc, tmp_path / "state", zones)
    assert again.differences(OWNER, "Europe/Paris") == ["timezone: /etc/timezone differs"]
    again.put(OWNER, "Europe/Paris")
    assert again.differences(OWNER, "Europe/Paris") == []
    assert (etc / "timezone").read_text() == "Europe/Paris\n"
