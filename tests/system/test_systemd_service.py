"""SystemdService against a real systemd and a real bus."""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.port import Observed, Scope
from holdfast_edge.providers.systemd.dbus import DbusSystemd
from holdfast_edge.providers.systemd.provider import UnitProvider
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource
from support import user_systemd
from support.builders import file_body
from support.user_systemd import UserSystemd
from support.waiting import HANGS_S

pytestmark = [pytest.mark.anyio, pytest.mark.root]
NOTHING = Scope(resources={})
UNIT = """\
[Unit]
Description=A test's service
[Service]
Environment=VERSION={version}
ExecStart=/bin/sleep 1000
[Install]
WantedBy=default.target
"""


@pytest.fixture(scope="module")
def systemd() -> Iterator[UserSystemd]:
    with tempfile.TemporaryDirectory(prefix="hf-") as folder, user_systemd.running(Path(folder)) as systemd:
        yield systemd


@asynccontextmanager
async def providing(systemd: UserSystemd, state: Path) -> AsyncIterator[UnitProvider]:
    provider = UnitProvider(DbusSystemd(systemd.home.address), systemd.home, state=state / "ledger")
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
async def provider(systemd: UserSystemd, tmp_path: Path) -> AsyncIterator[UnitProvider]:
    async with providing(systemd, tmp_path) as provider:
        yield provider
        for entry in list(provider._files._owned._ledger.entries.values()):
            await provider.remove(entry.key, {})


def service(name: str, unit: str = UNIT.format(version=1), /, **spec: Any) -> Resource:
    body = {
        "apiVersion": "holdfast/v1",
        "kind": "SystemdService",
        "metadata": {"name": name},
        "spec": {"unit": unit, **spec},
    }
    return target.resource(body)


async def look(provider: UnitProvider, resource: Resource) -> Observed:
    return (await provider.observe([resource], NOTHING))[resource.key]


async def converge(provider: UnitProvider, resource: Resource) -> Observed:
    await provider.apply(resource, NOTHING)
    return await eventually(lambda: look(provider, resource), lambda seen: seen.as_wanted and seen.readiness == "ready")


async def eventually(
    ask: Callable[[], Awaitable[Observed]], fits: Callable[[Observed], bool], within: float = HANGS_S
) -> Observed:
    deadline = time.monotonic() + within
    while not fits(seen := await ask()):
        assert time.monotonic() < deadline, f"not within {within} s; last: {seen}"
        await anyio.sleep(0.02)
    return seen


def shown(systemd: UserSystemd, name: str, *properties: str) -> list[str]:
    asked = [f"--property={each}" for each in properties]
    lines = systemd.systemctl("show", f"{name}.service", *asked).stdout.decode().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return [values[each] for each in properties]


async def test_a_service_is_written_enabled_and_started(systemd: UserSystemd, provider: UnitProvider) -> None:
    resource = service("made")
    before = await look(provider, resource)
    assert not before.exists
    assert "unit: no file" in before.differences
    await converge(provider, resource)
    assert shown(systemd, "made", "ActiveState", "UnitFileState", "NeedDaemonReload") == ["active", "enabled", "no"]
    assert (systemd.home.units / "made.service").read_text() == resource.spec["unit"]


async def test_a_changed_text_restarts_the_service_with_it(systemd: UserSystemd, provider: UnitProvider) -> None:
    await converge(provider, service("changed"))
    (before,) = shown(systemd, "changed", "MainPID")
    newer = service("changed", UNIT.format(version=2))
    assert (await look(provider, newer)).differences == ("unit: differs",)
    await converge(provider, newer)
    after, environment = shown(systemd, "changed", "MainPID", "Environment")
    assert after != before
    assert environment == "VERSION=2"


async def test_an_unchanged_service_is_applied_again_without_a_restart(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    await converge(provider, service("calm"))
    before = shown(systemd, "calm", "MainPID")
    await converge(provider, service("calm"))
    assert shown(systemd, "calm", "MainPID") == before


async def test_a_drop_in_comes_goes_and_restarts(systemd: UserSystemd, provider: UnitProvider) -> None:
    await converge(provider, service("dropped", dropIns={"more": "[Service]\nEnvironment=MORE=1\n"}))
    assert shown(systemd, "dropped", "Environment") == ["VERSION=1 MORE=1"]
    plain = service("dropped")
    assert not (await look(provider, plain)).as_wanted
    await converge(provider, plain)
    assert shown(systemd, "dropped", "Environment") == ["VERSION=1"]
    assert not (systemd.home.units / "dropped.service.d").exists()


def mask(systemd: UserSystemd, unit: str) -> None:
    (systemd.home.units / unit).unlink()
    systemd.systemctl("mask", unit).check_returncode()


DRIFTS: dict[str, tuple[Callable[[UserSystemd, str], object], str]] = {
    "stopped": (lambda systemd, unit: systemd.systemctl("stop", unit), "running: is inactive (dead)"),
    "disabled": (lambda systemd, unit: systemd.systemctl("disable", unit), "enabled: is disabled"),
    "link removed": (
        lambda systemd, unit: (systemd.home.units / "default.target.wants" / unit).unlink(),
        "enabled: is disabled",
    ),
    "masked": (lambda systemd, unit: mask(systemd, unit), "unit: masked"),
    "edited": (
        lambda systemd, unit: (systemd.home.units / unit).write_text(UNIT.format(version=7)),
        "unit: differs",
    ),
    "deleted": (lambda systemd, unit: (systemd.home.units / unit).unlink(), "unit: no file"),
    "killed": (
        lambda systemd, unit: systemd.systemctl("kill", "--signal=KILL", unit),
        "running: failed (failed)",
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_is_seen_and_repaired(systemd: UserSystemd, provider: UnitProvider, drift: str) -> None:
    resource = service("drifting")
    await converge(provider, resource)
    change, said = DRIFTS[drift]
    change(systemd, "drifting.service")
    await eventually(lambda: look(provider, resource), lambda seen: said in seen.differences)
    await converge(provider, resource)
    state = shown(systemd, "drifting", "ActiveState", "UnitFileState", "LoadState", "NeedDaemonReload", "Environment")
    assert state == ["active", "enabled", "loaded", "no", "VERSION=1"]


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_wakes(systemd: UserSystemd, provider: UnitProvider, drift: str) -> None:
    resource = service("waking")
    await converge(provider, resource)
    woken = [anyio.Event()]

    def wake() -> None:
        woken[0].set()

    async def settle() -> None:
        """Until nothing wakes for a while: what `apply` itself set off is past."""
        while True:
            woken[0] = anyio.Event()
            with anyio.move_on_after(0.15) as calm:
                await woken[0].wait()
            if calm.cancelled_caught:
                return

    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, wake)
        await woken[0].wait()  # connected
        assert (await look(provider, resource)).as_wanted
        await settle()
        await anyio.to_thread.run_sync(DRIFTS[drift][0], systemd, "waking.service")
        with anyio.fail_after(HANGS_S):
            await woken[0].wait()
        group.cancel_scope.cancel()
    await converge(provider, resource)


async def test_a_service_that_fails_is_degraded_with_systemd_s_reason(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    resource = service("failing", "[Service]\nExecStart=/bin/false\n")
    await provider.apply(resource, NOTHING)
    seen = await eventually(lambda: look(provider, resource), lambda seen: seen.readiness == "degraded")
    assert seen.reason == "ExitCode"
    assert "exit-code 1" in seen.message
    assert not seen.as_wanted


async def test_a_service_in_a_crash_loop_is_degraded_and_counts_its_restarts(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    text = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=50ms\n"
    resource = service("looping", text)
    await provider.apply(resource, NOTHING)
    seen = await eventually(
        lambda: look(provider, resource), lambda seen: seen.reason == "ExitCode" and seen.detail["restarts"] >= 2
    )
    assert seen.readiness == "degraded"
    assert seen.as_wanted, "restarting is systemd's work"


async def test_a_start_limit_is_forgiven_when_the_service_is_started_again(
    systemd: UserSystemd, provider: UnitProvider, tmp_path: Path
) -> None:
    text = f"[Service]\nExecStartPre=/usr/bin/test -e {tmp_path}/here\nExecStart=/bin/sleep 1000\nRestart=always\n"
    resource = service("limited", text)
    await provider.apply(resource, NOTHING)
    await eventually(lambda: look(provider, resource), lambda seen: "running: failed (failed)" in seen.differences)
    (tmp_path / "here").touch()
    await converge(provider, resource)


async def test_a_service_that_runs_to_completion_is_ready_and_runs_again_only_when_changed(
    systemd: UserSystemd, provider: UnitProvider, tmp_path: Path
) -> None:
    text = f"[Service]\nType=oneshot\nExecStart=/usr/bin/tee -a {tmp_path}/runs\nStandardInput=file:{tmp_path}/word\n"
    (tmp_path / "word").write_text("x")
    resource = service("once", text)
    await converge(provider, resource)
    seen = await converge(provider, resource)
    assert seen.reason == "Completed"
    assert (tmp_path / "runs").read_text() == "x"
    await converge(provider, service("once", text + "Environment=A=1\n"))
    assert (tmp_path / "runs").read_text() == "xx"


async def test_a_text_systemd_cannot_use_is_refused_with_what_systemd_says(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    resource = service("unusable", "[Service]\nExecStart=relative/path\n")
    with pytest.raises(PermanentError, match="bad unit file setting") as caught:
        await provider.apply(resource, NOTHING)
    assert caught.value.reason == "BadUnitSetting"


async def test_enabled_and_running_may_be_refused(systemd: UserSystemd, provider: UnitProvider) -> None:
    await converge(provider, service("resting"))
    resting = service("resting", enabled=False, running=False)
    seen = await look(provider, resting)
    assert set(seen.differences) == {
        "enabled: is enabled, wanted disabled",
        "running: is active (running), wanted stopped",
    }
    seen = await converge(provider, resting)
    assert seen.reason == "Stopped"
    assert shown(systemd, "resting", "ActiveState", "UnitFileState") == ["inactive", "disabled"]


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_removal_leaves_nothing_and_may_be_repeated(systemd: UserSystemd, provider: UnitProvider) -> None:
    resource = service("leaving", dropIns={"a": "[Service]\nEnvironment=A=1\n"})
    before = sorted(str(path) for path in systemd.home.units.iterdir())
    await converge(provider, resource)
    await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    after = [str(path) for path in systemd.home.units.iterdir() if path.name != "default.target.wants"]
    assert sorted(after) == [path for path in before if not path.endswith("default.target.wants")]
    assert not (systemd.home.units / "default.target.wants" / "leaving.service").is_symlink()
    assert shown(systemd, "leaving", "LoadState", "ActiveState") == ["not-found", "inactive"]


async def test_removal_of_a_failed_service_whose_file_is_gone_succeeds(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    resource = service("wreck", "[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=default.target\n")
    await provider.apply(resource, NOTHING)
    await eventually(lambda: look(provider, resource), lambda seen: seen.readiness == "degraded")
    (systemd.home.units / "wreck.service").unlink()
    await provider.remove(resource.key, resource.body)
    assert not (systemd.home.units / "default.target.wants" / "wreck.service").is_symlink()
    assert shown(systemd, "wreck", "LoadState", "ActiveState") == ["not-found", "inactive"]


async def test_removal_waits_for_a_slow_stop_and_is_owed_otherwise(
    systemd: UserSystemd, provider: UnitProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = f"[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/cat {tmp_path}/go\n"
    os.mkfifo(tmp_path / "go")
    resource = service("slow", text)
    await converge(provider, resource)
    monkeypatch.setattr("holdfast_edge.providers.systemd.transition.STOP_S", 0.2)
    with pytest.raises(TransientError, match="still stopping"):
        await provider.remove(resource.key, resource.body)
    assert (systemd.home.units / "slow.service").exists(), "its ExecStop is still needed"
    await anyio.to_thread.run_sync((tmp_path / "go").write_text, "")
    monkeypatch.setattr("holdfast_edge.providers.systemd.transition.STOP_S", 10.0)
    await provider.remove(resource.key, resource.body)
    assert not (systemd.home.units / "slow.service").exists()


async def test_a_renamed_unit_takes_the_old_one_away(systemd: UserSystemd, provider: UnitProvider) -> None:
    await converge(provider, service("renamed", name="first"))
    await converge(provider, service("renamed", name="second.service"))
    assert shown(systemd, "first", "LoadState", "ActiveState") == ["not-found", "inactive"]
    assert shown(systemd, "second", "ActiveState") == ["active"]


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_a_foreign_unit_is_left_untouched(systemd: UserSystemd, provider: UnitProvider) -> None:
    foreign = systemd.home.units / "foreign.service"
    foreign.write_text("[Service]\nExecStart=/bin/sleep 900\n")
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "foreign.service")
    before = (foreign.stat(), shown(systemd, "foreign", "MainPID", "ActiveState"))
    resource = service("foreign")
    with pytest.raises(PermanentError) as caught:
        await provider.apply(resource, NOTHING)
    assert caught.value.reason == "Foreign"
    await provider.remove(resource.key, resource.body)
    assert (foreign.stat(), shown(systemd, "foreign", "MainPID", "ActiveState")) == before
    systemd.systemctl("stop", "foreign.service")
    foreign.unlink()
    systemd.systemctl("daemon-reload")


async def test_a_unit_taken_over_comes_back_when_ours_goes(systemd: UserSystemd, provider: UnitProvider) -> None:
    foreign = systemd.home.units / "taken.service"
    foreign.write_text("[Service]\nExecStart=/bin/sleep 900\n")
    resource = service("taken", takeOver=True)
    await converge(provider, resource)
    await provider.remove(resource.key, resource.body)
    assert foreign.read_text() == "[Service]\nExecStart=/bin/sleep 900\n"
    assert shown(systemd, "taken", "LoadState", "ActiveState") == ["loaded", "inactive"]
    foreign.unlink()
    systemd.systemctl("daemon-reload")


async def test_a_kill_between_writing_and_restarting_is_made_good_by_the_next_agent(
    systemd: UserSystemd, provider: UnitProvider, tmp_path: Path
) -> None:
    await converge(provider, service("halfway"))
    newer = service("halfway", UNIT.format(version=2))
    provider._files.write(newer.key, provider._want(newer, NOTHING))  # and then the kill
    async with providing(systemd, tmp_path) as successor:
        seen = await look(successor, newer)
        assert "unit: not in effect yet" in seen.differences
        await converge(successor, newer)
    assert shown(systemd, "halfway", "Environment") == ["VERSION=2"]


async def test_without_a_bus_the_error_is_transient_and_the_watch_finds_the_next_one(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    resource = service("bus")
    await converge(provider, resource)
    wakes: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, lambda: wakes.append(time.monotonic()))
        while not wakes:
            await anyio.sleep(0.01)
        systemd.kill_bus()
        with pytest.raises(TransientError) as caught:
            await look(provider, resource)
        assert caught.value.reason == "BusDown"
        seen = len(wakes)
        systemd.start_bus()
        with anyio.fail_after(HANGS_S):
            while len(wakes) <= seen:
                await anyio.sleep(0.02)

        async def try_look() -> Observed:
            try:
                return await look(provider, resource)
            except TransientError:
                return Observed(resource.key, False)

        await eventually(try_look, lambda seen: seen.as_wanted)
        group.cancel_scope.cancel()


async def test_looking_at_forty_unchanged_services_asks_once_for_all_and_once_for_each_file(
    provider: UnitProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = [service(f"many-{n}", enabled=False, running=False) for n in range(40)]
    for resource in resources:
        await anyio.to_thread.run_sync(provider._files.write, resource.key, provider._want(resource, NOTHING))
    await provider._backend.reload()
    await provider.observe(resources, NOTHING)
    backend, asked = provider._backend, list[str]()
    assert isinstance(backend, DbusSystemd)
    call = backend._call

    async def counted(member: str, *arguments: Any) -> Any:
        asked.append(member)
        return await call(member, *arguments)

    monkeypatch.setattr(backend, "_call", counted)
    await provider.observe(resources, NOTHING)
    assert asked.count("ListUnitsByNames") == 1
    assert set(asked) <= {"ListUnitsByNames", "GetUnitFileState"}
    assert len(asked) <= 1 + len(resources)


async def test_a_service_is_restarted_with_what_it_has_read_and_with_nothing_else(
    systemd: UserSystemd, provider: UnitProvider
) -> None:
    def wanted(content: str, other: str = "x") -> tuple[Resource, Scope]:
        files = [
            target.resource(file_body(name, f"/srv/{name}", text))
            for name, text in (("config", content), ("other", other))
        ]
        reader = service("reader", restartOn=["File/config"])
        return reader, Scope({each.key: each for each in (*files, reader)})

    async def pid_after(reader: Resource, scope: Scope) -> str:
        seen = (await provider.observe([reader], scope))[reader.key]
        if not seen.as_wanted:
            await provider.apply(reader, scope)

        async def try_look() -> Observed:
            return (await provider.observe([reader], scope))[reader.key]

        await eventually(try_look, lambda seen: seen.as_wanted and seen.readiness == "ready")
        return shown(systemd, "reader", "MainPID")[0]

    first = await pid_after(*wanted("one"))
    assert await pid_after(*wanted("one", other="y")) == first
    assert await pid_after(*wanted("two")) != first
    with pytest.raises(PermanentError, match=r"spec\.restartOn: File/config is not there"):
        provider.check(wanted("one")[0], NOTHING)
