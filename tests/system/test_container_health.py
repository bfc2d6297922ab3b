"""Containers on a real engine that live, fail and die: probes, restarts, kills of the agent, an engine gone."""

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.container import provider as workloads
from holdfast_edge.providers.container.provider import ContainerProvider
from holdfast_edge.providers.port import Observed
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.target import Resource
from support.clock import Running, eventually
from support.container_world import World, container, deployment, pod
from support.engine import RealEngine, running_engine
from support.waiting import HANGS_S

pytestmark = [pytest.mark.root, pytest.mark.anyio]


@pytest.fixture(scope="module")
def engine() -> Iterator[RealEngine]:
    with running_engine() as running:
        yield running


@pytest.fixture
async def world(engine: RealEngine, tmp_path: Path) -> AsyncIterator[World]:
    made = World(engine, tmp_path / "state")
    yield made
    await made.provider.close()
    engine.clear()


async def test_readiness_follows_its_probe_and_wakes_the_loop(world: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    wanted = world.put(deployment(container(readinessProbe=probe)))
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        wakes += 1

    async with Running(lambda: world.provider.run_watch(wake)):
        seen = await world.apply(wanted)
        assert (seen.as_wanted, seen.readiness, seen.reason) == (True, "progressing", "Starting")

        world.engine.run_inside(world.ids()[0], "sh", "-c", "echo > /tmp/ready")
        await _until_readiness(world, wanted, "ready", lambda: wakes)

        world.engine.run_inside(world.ids()[0], "sh", "-c", "busybox rm /tmp/ready")
        seen = await _until_readiness(world, wanted, "degraded", lambda: wakes)
        assert seen.reason == "NotReady"
        assert "readiness probe: exit code 1" in seen.message
        assert seen.as_wanted


async def _until_readiness(world: World, wanted: Resource, readiness: str, wakes: Callable[[], int]) -> Observed:
    """Look again at each wake, as the loop does, and never without one."""
    with anyio.fail_after(HANGS_S):
        while True:
            before = wakes()
            seen = await world.look(wanted)
            if seen.readiness == readiness:
                return seen
            await eventually(lambda: wakes() > before, "a wake")  # noqa: B023  called before the next round


async def test_a_container_that_fails_its_liveness_probe_is_restarted(world: World) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    alive = ["sh", "-c", "[ -e /tmp/twice ] || echo > /tmp/alive; echo > /tmp/twice; exec sleep 3600"]
    wanted = world.put(deployment(container(command=alive, livenessProbe=probe)))
    woken = anyio.Event()
    async with Running(lambda: world.provider.run_watch(woken.set)):
        await world.apply(wanted)
        [before] = world.containers()
        await _until_difference(world, wanted, None)
        world.engine.run_inside(before["Id"], "busybox", "rm", "/tmp/alive")

        await _until_difference(world, wanted, "liveness probe: exit code 1")
        await world.apply(wanted)
        [after] = world.containers()
        assert after["Id"] == before["Id"]
        assert after["State"]["StartedAt"] > before["State"]["StartedAt"]

        await eventually(lambda: woken.is_set())
        with anyio.fail_after(HANGS_S):  # it fails again, and the second restart has to wait
            while (seen := await world.look(wanted)).reason != "ProbeFailed":
                await anyio.sleep(0.05)
        assert seen.as_wanted
        assert seen.readiness == "degraded"


async def _until_difference(world: World, wanted: Resource, text: str | None) -> None:
    with anyio.fail_after(HANGS_S):
        while True:
            seen = await world.look(wanted)
            if (text is None and seen.as_wanted) or any(text in each for each in seen.differences if text):
                return
            await anyio.sleep(0.05)


async def test_http_and_tcp_probes_ask_over_the_network(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = ["sh", "-c", f"echo ok > /tmp/index.html; exec httpd -f -p 127.0.0.1:{port} -h /tmp"]
    ports = [{"name": "web", "containerPort": port}]

    def wanted_with(path: str) -> Resource:
        return world.put(
            deployment(
                container(
                    command=serve,
                    ports=ports,
                    startupProbe={"tcpSocket": {"port": "web"}, "periodSeconds": 1},
                    readinessProbe={
                        "httpGet": {"port": "web", "path": path},
                        "periodSeconds": 1,
                        "failureThreshold": 1,
                    },
                ),
                hostNetwork=True,
            )
        )

    wanted = wanted_with("/index.html")
    async with Running(lambda: world.provider.run_watch(lambda: None)):
        await world.apply(wanted)
        before = world.ids()
        await _until_seen(world, wanted, "ready")
        other = wanted_with("/absent")
        seen = await _until_seen(world, other, "degraded")
    assert "HTTP status 404" in seen.message
    assert seen.as_wanted, "a changed probe replaces nothing"
    assert world.ids() == before


async def _until_seen(world: World, wanted: Resource, readiness: str) -> Observed:
    with anyio.fail_after(HANGS_S):
        while (seen := await world.look(wanted)).readiness != readiness:
            await anyio.sleep(0.05)
    return seen


async def test_what_dies_comes_back_with_the_agent_dead_and_after_the_engine_s_restart(world: World) -> None:
    wanted = world.put(deployment(container(command=["sleep", "3600"])))
    await world.apply(wanted)
    [before] = world.containers()
    await world.provider.close()

    subprocess.run(["kill", "-9", str(before["State"]["Pid"])], check=True)

    def again() -> bool:
        state = world.containers()[0]["State"]
        return bool(state["Running"] and state["StartedAt"] > before["State"]["StartedAt"])

    await eventually(again, "the engine to restart it")
    world.engine.stop()
    world.engine.start()
    await eventually(lambda: world.containers()[0]["State"]["Running"], "the engine to start it at boot")
    world.provider = world.new_provider()
    assert (await world.look(wanted)).as_wanted


@pytest.mark.parametrize(
    ("policy", "code", "readiness", "reason", "state"),
    [
        ("Never", 0, "ready", "Completed", "exited"),
        ("Never", 3, "degraded", "ContainerFailed", "exited"),
        ("OnFailure", 0, "ready", "Completed", "exited"),
        ("OnFailure", 3, "degraded", "CrashLoop", "restarting"),
    ],
)
async def test_a_pod_ends_as_its_restart_policy_says(
    world: World, policy: str, code: int, readiness: str, reason: str, state: str
) -> None:
    wanted = world.put(pod(container(command=["sh", "-c", f"exit {code}"]), restartPolicy=policy))
    await world.apply(wanted)
    with anyio.fail_after(HANGS_S):
        while (seen := await world.look(wanted)).reason != reason:
            await anyio.sleep(0.05)
    assert seen.readiness == readiness
    assert seen.as_wanted
    with anyio.fail_after(HANGS_S):
        while world.containers()[0]["State"]["Status"] != state:
            await anyio.sleep(0.02)
    await world.apply(wanted)
    assert len(world.ids()) == 1


class Killed(BaseException):
    """The agent dies here."""


async def test_a_kill_at_any_point_of_an_apply_is_made_good_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanted_with(value: str) -> Resource:
        both = [container(name=name, env=[{"name": "V", "value": value}]) for name in ("a", "b")]
        return world.put(deployment(*both, spec={"replicas": 2, "strategy": {"type": "Recreate"}}))

    calls = ("create", "start", "remove")
    point = 0
    while True:
        wanted = wanted_with(str(point))
        left = point

        def fuse(provider: ContainerProvider) -> None:
            nonlocal left
            for name in calls:
                original = getattr(provider._engine, name)

                async def call(*args: Any, original: Any = original) -> Any:
                    nonlocal left
                    if left == 0:
                        raise Killed
                    left -= 1
                    return await original(*args)

                monkeypatch.setattr(provider._engine, name, call)

        dying = world.new_provider()
        fuse(dying)
        died = False
        try:
            await dying.apply(wanted, world.scope)
        except (Killed, BaseExceptionGroup):
            died = True
        await dying.close()

        await world.provider.close()
        world.provider = world.new_provider()
        seen = await world.apply(wanted)
        assert seen.as_wanted, (point, seen.differences)
        assert seen.readiness == "ready"
        assert len(world.ids()) == 4
        assert all(f"V={point}" in each["Config"]["Env"] for each in world.containers())
        assert len(list(world.state.glob("volumes/*/*"))) == 2
        if not died:
            break
        point += 1
    assert point >= 12  # 4 removals, 4 creations, 4 starts


async def test_no_engine_is_a_transient_error_and_its_return_is_heard(
    engine: RealEngine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_edge.providers.container.hearing.LONGEST_PAUSE_S", 0.2)
    wanted = world.put(deployment())
    await world.apply(wanted)
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        wakes += 1

    async with Running(lambda: world.provider.run_watch(wake)):
        await eventually(lambda: wakes == 1, "it to listen")
        engine.client.stop(world.ids()[0], timeout=0)
        await eventually(lambda: wakes > 1, "the container's end")

        engine.stop()
        with pytest.raises(TransientError) as caught:
            await world.look(wanted)
        assert caught.value.reason == "EngineDown"
        with pytest.raises(TransientError):
            await world.apply(wanted)

        seen = wakes
        engine.start()
        await eventually(lambda: wakes > seen, "the engine's return")
        assert (await world.apply(wanted)).as_wanted
        before = wakes
        engine.client.stop(world.ids()[0], timeout=0)
        await eventually(lambda: wakes > before, "events of the new engine")


BRIDGED = """
import asyncio, json, sys, urllib.request
from pathlib import Path
from holdfast_edge.providers.container.provider import ContainerProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.target import resource

async def main(url, state, body):
    provider = ContainerProvider(url, "lyon", Path(state), rules=Rules())
    wanted = resource(json.loads(body))
    scope = Scope({wanted.key: wanted})
    await provider.apply(wanted, scope)
    watch = asyncio.create_task(provider.run_watch(lambda: None))
    for _ in range(200):
        seen = (await provider.observe([wanted], scope))[wanted.key]
        if seen.readiness == "ready":
            break
        await asyncio.sleep(0.05)
    watch.cancel()
    page = await asyncio.to_thread(lambda: urllib.request.urlopen("http://127.0.0.1:8088/x", timeout=5).read().decode())
    await provider.close()
    print(json.dumps({"readiness": seen.readiness, "message": seen.message, "page": page}))

asyncio.run(main(*sys.argv[1:]))
"""


def test_host_ports_are_published_and_probes_reach_a_container_s_own_address(tmp_path: Path) -> None:
    web = container(
        command=["sh", "-c", "echo ok > /tmp/x; exec httpd -f -p 80 -h /tmp"],
        ports=[{"containerPort": 80, "hostPort": 8088, "hostIP": "127.0.0.1"}],
        readinessProbe={"httpGet": {"port": 80, "path": "/x"}, "periodSeconds": 1},
    )
    with running_engine(bridge=True) as bridged:
        inside = ["nsenter", f"--net=/proc/{bridged.pid}/ns/net"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        answer = subprocess.run(
            [*inside, sys.executable, "-c", BRIDGED, bridged.url, str(tmp_path / "state"), json.dumps(deployment(web))],
            check=True,
            capture_output=True,
            text=True,
        )
    assert json.loads(answer.stdout) == {"readiness": "ready", "message": "", "page": "ok\n"}


@pytest.mark.parametrize("command", [["sleep", "3600"], ["sh", "-c", "exit 1"]])
async def test_a_pod_whose_first_steps_take_long_or_fail_is_waited_for_and_not_taken_for_made(
    command: list[str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that counts as made and is to be made again looks like somebody undoing it: contested, for an hour."""
    monkeypatch.setattr(workloads, "WAIT_S", 0.6)
    monkeypatch.setattr(workloads, "POLL_S", 0.01)
    wanted = world.put(deployment(initContainers=[container(name="first", command=command)]))
    with pytest.raises(TransientError) as caught:
        await world.apply(wanted)
    assert caught.value.reason == "Waiting"
    assert "first" in caught.value.message
