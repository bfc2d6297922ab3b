"""The port to systemd by each of its doors, against a real systemd and a real bus: the same answers, the same signals."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast_edge.providers.systemd.dbus import DbusSystemd
from holdfast_edge.providers.systemd.door import Name, Refused
from holdfast_protocol.errors import TransientError
from support import user_systemd
from support.user_systemd import UserSystemd
from support.waiting import HANGS_S

pytestmark = [pytest.mark.anyio, pytest.mark.root]
SLEEPS = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n"
FAILS = "[Service]\nExecStart=/bin/false\n"
STUBBORN = "[Service]\nExecStart=/bin/sleep 1000\nKillSignal=SIGURG\nTimeoutStopSec=60\n"  # a signal nobody minds
TIMER = "[Timer]\nOnCalendar=yearly\nUnit=asleep.service\n"


@pytest.fixture(scope="module")
def systemd() -> Iterator[UserSystemd]:
    with tempfile.TemporaryDirectory(prefix="hf-") as folder, user_systemd.running(Path(folder)) as systemd:
        units = {"asleep": SLEEPS, "failing": FAILS, "stubborn": STUBBORN, "enabled": SLEEPS, "masked": SLEEPS}
        for name, text in units.items():
            (systemd.home.units / f"{name}.service").write_text(text)
        (systemd.home.units / "asleep.timer").write_text(TIMER)
        systemd.systemctl("daemon-reload").check_returncode()
        yield systemd


@pytest.fixture(params=["dbus-fast", "pystemd"])
def door(request: pytest.FixtureRequest) -> Name:
    chosen: Name = request.param
    return chosen


@pytest.fixture
async def backend(systemd: UserSystemd, door: Name) -> AsyncIterator[DbusSystemd]:
    made = DbusSystemd(systemd.home.address, door)
    yield made
    await made.close()


@asynccontextmanager
async def listening(backend: DbusSystemd, *names: str) -> AsyncIterator[Callable[[], None]]:
    """Follow units; gives what forgets the wakes so far, and fails unless one comes before the end."""
    woken = anyio.Event()
    first = anyio.Event()

    def wake() -> None:
        first.set()
        woken.set()

    def forget() -> None:
        nonlocal woken
        woken = anyio.Event()

    backend.follow(names)
    async with anyio.create_task_group() as group:
        group.start_soon(backend.run_signals, wake)
        with anyio.fail_after(HANGS_S):
            await first.wait()
        forget()
        yield forget
        with anyio.fail_after(HANGS_S):
            await woken.wait()
        group.cancel_scope.cancel()


async def active(backend: DbusSystemd, name: str, wanted: str) -> None:
    with anyio.fail_after(HANGS_S):
        while (await backend.states([name], fresh=False))[name].active != wanted:
            await anyio.sleep(0.01)


async def test_states_are_told_of_known_and_unknown_units(backend: DbusSystemd) -> None:
    found = await backend.states(["asleep.service", "nobody.service", "asleep.timer"], fresh=True)
    assert (found["asleep.service"].load, found["asleep.service"].file_state) == ("loaded", "disabled")
    assert (found["nobody.service"].load, found["nobody.service"].file_state) == ("not-found", "")
    assert found["asleep.timer"].file_state == "static"
    assert await backend.states([], fresh=True) == {}


async def test_units_are_started_restarted_and_stopped(backend: DbusSystemd) -> None:
    await backend.start("asleep.service")
    await active(backend, "asleep.service", "active")
    (before,) = (await backend.properties("asleep.service", ["ExecMainPID"])).values()
    await backend.restart("asleep.service")
    with anyio.fail_after(HANGS_S):
        while (await backend.properties("asleep.service", ["ExecMainPID"]))["ExecMainPID"] in (before, 0):
            await anyio.sleep(0.01)
    assert await backend.stop("asleep.service", within=HANGS_S)
    await active(backend, "asleep.service", "inactive")
    assert await backend.stop("nobody.service", within=HANGS_S)


async def test_a_stop_that_takes_too_long_is_told(systemd: UserSystemd, backend: DbusSystemd) -> None:
    await backend.start("stubborn.service")
    await active(backend, "stubborn.service", "active")
    assert not await backend.stop("stubborn.service", within=0.2)
    systemd.systemctl("kill", "--signal=KILL", "stubborn.service")
    await active(backend, "stubborn.service", "failed")
    await backend.reset_failed("stubborn.service")
    await active(backend, "stubborn.service", "inactive")


async def test_units_are_enabled_disabled_masked_and_unmasked(systemd: UserSystemd, backend: DbusSystemd) -> None:
    async def state(name: str) -> str:
        return (await backend.states([name], fresh=True))[name].file_state

    await backend.enable("enabled.service")
    assert await state("enabled.service") == "enabled"
    await backend.enable("enabled.service", again=True)
    await backend.disable("enabled.service")
    assert await state("enabled.service") == "disabled"
    await backend.disable("nobody.service")
    (systemd.home.units / "masked.service").unlink(missing_ok=True)
    await backend.mask("masked.service")
    assert await state("masked.service") == "masked"
    await backend.unmask("masked.service")
    await backend.reload()
    assert await state("masked.service") == ""


async def test_what_failed_says_how(backend: DbusSystemd) -> None:
    await backend.start("failing.service")
    await active(backend, "failing.service", "failed")
    state = (await backend.states(["failing.service"], fresh=False))["failing.service"]
    assert (state.result, state.status, state.restarts) == ("exit-code", 1, 0)
    await backend.reset_failed("failing.service")
    await backend.reset_failed("nobody.service")


async def test_properties_are_those_that_the_unit_knows(backend: DbusSystemd) -> None:
    asked = ["NextElapseUSecRealtime", "TimersCalendar", "NoSuchProperty"]
    found = await backend.properties("asleep.timer", asked)
    assert set(found) == set(asked[:2])
    assert isinstance(found["NextElapseUSecRealtime"], int)
    assert found["TimersCalendar"][0][0] == "OnCalendar"


async def test_refusals_and_missing_units_are_told_apart(backend: DbusSystemd) -> None:
    with pytest.raises(TransientError) as missing:
        await backend.start("nobody.service")
    assert missing.value.reason == "MissingUnit"
    with pytest.raises(Refused) as refused:
        await backend.start("no name at all")
    assert refused.value.reason == "InvalidArgs"
    assert "systemd refuses StartUnit" in refused.value.message


async def test_changes_of_followed_units_wake(systemd: UserSystemd, backend: DbusSystemd) -> None:
    async with listening(backend, "asleep.service"):
        systemd.systemctl("start", "asleep.service").check_returncode()
    async with listening(backend, "asleep.service"):
        systemd.systemctl("stop", "asleep.service").check_returncode()


async def test_a_unit_followed_later_wakes_as_well(systemd: UserSystemd, backend: DbusSystemd) -> None:
    async with listening(backend, "asleep.service") as forget:
        backend.follow(["asleep.service", "failing.service"])
        await backend.states(["failing.service"], fresh=False)
        forget()
        await backend.start("failing.service")
    await backend.reset_failed("failing.service")


async def test_links_made_and_files_read_again_wake(systemd: UserSystemd, backend: DbusSystemd) -> None:
    async with listening(backend):
        systemd.systemctl("enable", "enabled.service").check_returncode()
    async with listening(backend):
        systemd.systemctl("daemon-reload").check_returncode()


async def test_after_a_lost_bus_calls_are_transient_and_the_next_one_is_found(
    systemd: UserSystemd, backend: DbusSystemd
) -> None:
    async with listening(backend, "asleep.service") as forget:
        systemd.kill_bus()
        with pytest.raises(TransientError) as lost:
            await backend.states(["asleep.service"], fresh=True)
        assert lost.value.reason in ("BusDown", "NoReply", "Disconnected")
        systemd.start_bus()
        forget()
    found = await backend.states(["asleep.service"], fresh=True)
    assert found["asleep.service"].load == "loaded"
