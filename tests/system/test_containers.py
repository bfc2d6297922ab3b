"""The container providers on a real engine of our own."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.container.provider import ContainerProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import Resource, resource
from support.clock import Running, eventually
from support.engine import IMAGE, OTHER_IMAGE, RealEngine, running_engine

pytestmark = [pytest.mark.root, pytest.mark.anyio]
FOREVER = ["sh", "-c", "trap exit TERM; while true; do sleep 3600 & wait $!; done"]


@pytest.fixture(scope="module")
def engine() -> Iterator[RealEngine]:
    with running_engine() as running:
        yield running


class World:
    """A site's resources and the provider that keeps them."""

    def __init__(self, engine: RealEngine, state: Path) -> None:
        self.engine = engine
        self.state = state
        self.site = SiteName("lyon")
        self.resources: dict[str, Resource] = {}
        self.provider = self.new_provider()

    def new_provider(self) -> ContainerProvider:
        """As after a restart of the agent: nothing remembered."""
        return ContainerProvider(
            self.engine.url, self.site, self.state, rules=Rules(host_paths=(str(self.state.parent / "data"),))
        )

    def put(self, body: dict[str, Any]) -> Resource:
        made = resource(body)
        self.resources[made.key] = made
        return made

    @property
    def scope(self) -> Scope:
        return Scope({each.key: each for each in self.resources.values()})

    async def look(self, wanted: Resource) -> Observed:
        return (await self.provider.observe([wanted], self.scope))[wanted.key]

    async def apply(self, wanted: Resource) -> Observed:
        self.provider.check(wanted, self.scope)
        await self.provider.apply(wanted, self.scope)
        return await self.look(wanted)

    def containers(self) -> list[dict[str, Any]]:
        """Everything of this site as the engine tells it, by name."""
        listed = self.engine.client.containers(all=True, filters={"label": f"holdfast.io/site={self.site}"})
        inspected = [self.engine.client.inspect_container(each["Id"]) for each in listed]
        return sorted(inspected, key=lambda each: each["Name"])

    def ids(self) -> list[str]:
        return [each["Id"] for each in self.containers()]


@pytest.fixture
async def world(engine: RealEngine, tmp_path: Path) -> AsyncIterator[World]:
    made = World(engine, tmp_path / "state")
    yield made
    await made.provider.close()
    engine.clear()


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "app", "image": IMAGE, "command": FOREVER, **fields}


def deployment(*containers: dict[str, Any], name: str = "vision", spec: Any = None, **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            **(spec or {}),
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": list(containers) or [container()],
                    **pod,
                }
            },
        },
    }


def pod(*containers: dict[str, Any], name: str = "job", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers) or [container()], **spec},
    }


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}


def secret(**data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": encoded}


async def test_a_deployment_becomes_running_containers_with_its_environment(world: World) -> None:
    world.put(config_map(mode="fast", unused="x"))
    world.put(secret(key="s3cret"))
    wanted = world.put(
        deployment(
            container(
                args=["$(MODE)"],
                env=[
                    {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                envFrom=[{"prefix": "TOKEN_", "secretRef": {"name": "token"}}],
                workingDir="/tmp",
                resources={"limits": {"memory": "32Mi", "cpu": "500m"}, "requests": {"memory": "16Mi", "cpu": "100m"}},
                securityContext={"runAsUser": 1000, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
            ),
            spec={"replicas": 2},
        )
    )
    before = await world.look(wanted)
    assert not before.exists
    assert before.differences == ("replica 0, container app: absent", "replica 1, container app: absent")

    after = await world.apply(wanted)

    assert after.as_wanted
    assert after.readiness == "ready"
    first, second = world.containers()
    assert [each["State"]["Status"] for each in (first, second)] == ["running", "running"]
    assert first["Config"]["Labels"]["holdfast.io/resource"] == "Deployment/vision"
    assert {"MODE=fast", "TOKEN_key=s3cret", "POD=vision-0"} <= set(first["Config"]["Env"])
    assert "POD=vision-1" in second["Config"]["Env"]
    assert first["Args"][-1] == "fast"
    assert first["HostConfig"]["Memory"] == 32 * 1024 * 1024
    assert first["HostConfig"]["NanoCpus"] == 500_000_000
    inside = world.engine.run_inside(first["Id"], "sh", "-c", "busybox id -u; pwd; touch /x 2>&1 || true")
    assert inside.splitlines() == ["1000", "/tmp", "touch: /x: Read-only file system"]
    assert json.dumps(dict(after.detail)).count("s3cret") == 0


async def test_applying_again_changes_nothing(world: World) -> None:
    wanted = world.put(deployment(spec={"replicas": 2}))
    await world.apply(wanted)
    before = world.containers()

    world.provider = world.new_provider()
    assert (await world.apply(wanted)).as_wanted

    assert world.containers() == before


@pytest.mark.parametrize(
    ("disturb", "difference"),
    [
        (lambda client, one: client.stop(one, timeout=0), "stopped, exit code"),
        (lambda client, one: client.kill(one), "stopped, exit code"),
        (lambda client, one: client.remove_container(one, force=True), "absent"),
        (lambda client, one: client.pause(one), "paused"),
        (lambda client, one: client.rename(one, "mine-now"), "name altered"),
        (lambda client, one: client.update_container(one, mem_limit=64 << 20, memswap_limit=64 << 20), "memory limit"),
        (lambda client, one: client.update_container(one, restart_policy={"Name": "no"}), "restart policy altered"),
    ],
    ids=["stopped", "killed", "removed", "paused", "renamed", "memory", "policy"],
)
async def test_what_is_done_to_a_container_by_hand_is_seen_and_mended(
    world: World, disturb: Callable[[Any, str], None], difference: str
) -> None:
    wanted = world.put(deployment(container(resources={"limits": {"memory": "32Mi"}}), spec={"replicas": 2}))
    await world.apply(wanted)
    kept, disturbed = world.ids()

    disturb(world.engine.client, disturbed)
    seen = await world.look(wanted)
    assert seen.exists
    assert len(seen.differences) == 1
    assert difference in seen.differences[0]
    mended = await world.apply(wanted)

    assert mended.as_wanted
    assert mended.readiness == "ready"
    assert kept in world.ids()
    assert [each["State"]["Status"] for each in world.containers()] == ["running", "running"]
    assert {each["HostConfig"]["Memory"] for each in world.containers()} == {32 << 20}


async def test_the_number_of_replicas_follows_the_specification_and_replaces_none(world: World) -> None:
    await world.apply(world.put(deployment(spec={"replicas": 2})))
    first = world.ids()
    await world.apply(world.put(deployment(spec={"replicas": 3})))
    assert set(first) < set(world.ids())
    assert len(world.ids()) == 3

    fewer = await world.apply(world.put(deployment(spec={"replicas": 1})))
    assert fewer.as_wanted
    assert world.ids() == [each for each in first if each in world.ids()]

    none = await world.apply(world.put(deployment(spec={"replicas": 0})))
    assert none.as_wanted
    assert world.ids() == []


async def test_a_changed_specification_replaces_one_replica_after_the_other(world: World) -> None:
    await world.apply(world.put(deployment(spec={"replicas": 2})))
    old = set(world.ids())
    changed = world.put(deployment(container(env=[{"name": "NEW", "value": "1"}]), spec={"replicas": 2}))
    lowest = 2

    async def watch() -> None:
        nonlocal lowest
        while True:
            running = world.engine.client.containers(filters={"label": f"holdfast.io/site={world.site}"})
            lowest = min(lowest, len(running))
            await anyio.sleep(0.01)

    async with Running(watch):
        seen = await world.apply(changed)

    assert seen.as_wanted
    assert not old & set(world.ids())
    assert lowest >= 1
    assert all("NEW=1" in each["Config"]["Env"] for each in world.containers())


async def test_a_revision_that_crashes_takes_only_one_replica_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_edge.providers.container.provider.WAIT_S", 0.5)
    await world.apply(world.put(deployment(spec={"replicas": 2})))
    old = set(world.ids())
    bad = world.put(deployment(container(command=["false"]), spec={"replicas": 2}))

    with pytest.raises(TransientError, match="waits for other replicas") as caught:
        await world.apply(bad)

    assert caught.value.reason == "Waiting"
    assert len(old & set(world.ids())) == 1
    seen = await world.look(bad)
    assert seen.readiness == "degraded"
    assert seen.reason == "CrashLoop"
    assert any("older specification" in each for each in seen.differences)

    good = await world.apply(world.put(deployment(spec={"replicas": 2})))
    assert good.as_wanted


async def test_an_image_that_is_absent_is_named_and_what_runs_keeps_running(world: World) -> None:
    await world.apply(world.put(deployment()))
    before = world.ids()
    absent = world.put(deployment(container(image="holdfast.test/none:1", imagePullPolicy="Never")))

    with pytest.raises(TransientError, match=r"holdfast\.test/none:1 is not here") as caught:
        await world.apply(absent)

    assert caught.value.reason == "ImageAbsent"
    assert "load it at the site" in caught.value.hint
    assert world.ids() == before


async def test_an_image_that_cannot_be_pulled_is_transient_and_always_falls_back_to_the_local_one(world: World) -> None:
    unreachable = "127.0.0.1:9/none:1"
    with pytest.raises(TransientError, match=unreachable):
        await world.apply(world.put(deployment(container(image=unreachable))))

    world.engine.client.tag(IMAGE, "127.0.0.1:9/here", "1")
    here = world.put(deployment(container(image="127.0.0.1:9/here:1", imagePullPolicy="Always")))
    assert (await world.apply(here)).as_wanted


async def test_a_tag_that_means_another_image_now_is_a_difference(world: World) -> None:
    world.engine.client.tag(IMAGE, "holdfast.test/moving", "1")
    wanted = world.put(deployment(container(image="holdfast.test/moving:1")))
    await world.apply(wanted)

    world.engine.client.tag(OTHER_IMAGE, "holdfast.test/moving", "1")
    seen = await world.look(wanted)
    assert "image holdfast.test/moving:1 is" in seen.differences[0]
    assert (await world.apply(wanted)).as_wanted
    assert world.engine.run_inside(world.ids()[0], "cat", "/etc/marker") == "2"


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_containers_of_others_are_never_touched(world: World) -> None:
    bystander = world.engine.run_foreign("vision")
    other_site = world.engine.run_foreign(
        "other-site", labels={"holdfast.io/site": "paris", "holdfast.io/resource": "Deployment/vision"}
    )
    wanted = world.put(deployment(spec={"replicas": 2}))
    await world.apply(wanted)
    surplus = world.engine.run_foreign(
        "copied",
        labels={"holdfast.io/site": "lyon", "holdfast.io/resource": "Deployment/vision"},
        stop_timeout=0,
    )
    assert (await world.look(wanted)).differences == ("copied: more than wanted",)
    await world.apply(wanted)
    assert surplus not in world.ids()

    await world.provider.remove(wanted.key, wanted.body)
    await world.provider.remove(wanted.key, wanted.body)

    assert world.ids() == []
    left = {each["Id"] for each in world.engine.client.containers()}
    assert left == {bystander, other_site}
    assert not list((world.state / "volumes").iterdir())


async def test_a_name_that_a_stranger_has_taken_is_told_and_taken_when_free(world: World) -> None:
    wanted = world.put(deployment())
    await world.apply(wanted)
    name = world.containers()[0]["Name"].lstrip("/")
    await world.provider.remove(wanted.key, wanted.body)
    stranger = world.engine.run_foreign(name)

    with pytest.raises(TransientError) as caught:
        await world.apply(wanted)
    assert caught.value.reason == "NameTaken"
    assert name in caught.value.hint

    world.engine.client.remove_container(stranger, force=True)
    assert (await world.apply(wanted)).as_wanted


async def test_a_changed_configmap_replaces_only_those_who_use_what_changed(world: World) -> None:
    world.put(config_map(used="1", other="1"))
    by_key = world.put(
        deployment(
            container(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "used"}}}]),
            name="by-key",
        )
    )
    by_file = world.put(
        deployment(
            container(volumeMounts=[{"name": "files", "mountPath": "/files"}]),
            name="by-file",
            volumes=[{"name": "files", "configMap": {"name": "settings"}}],
        )
    )
    await world.apply(by_key)
    await world.apply(by_file)

    world.put(config_map(used="1", other="2"))
    assert (await world.look(by_key)).as_wanted
    assert not (await world.look(by_file)).as_wanted
    await world.apply(by_file)
    [mounted] = [each["Id"] for each in world.containers() if "by-file" in each["Name"]]
    assert world.engine.run_inside(mounted, "cat", "/files/other") == "2"

    world.put(config_map(used="2", other="2"))
    await world.apply(by_key)
    [keyed] = [each for each in world.containers() if "by-key" in each["Name"]]
    assert "A=2" in keyed["Config"]["Env"]


async def test_volumes_hold_what_was_asked_with_its_modes_and_are_mended(world: World) -> None:
    data = world.state.parent / "data"
    data.mkdir()
    (data / "seen").write_text("by the host")
    world.put(config_map(**{"app.conf": "listen=1"}))
    world.put(secret(password="hush"))
    wanted = world.put(
        deployment(
            container(
                volumeMounts=[
                    {"name": "conf", "mountPath": "/conf"},
                    {"name": "conf", "mountPath": "/etc/one.conf", "subPath": "deep/one.conf"},
                    {"name": "keys", "mountPath": "/keys"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "memory", "mountPath": "/memory"},
                    {"name": "host", "mountPath": "/host", "readOnly": True},
                ],
                securityContext={"runAsUser": 1000},
            ),
            volumes=[
                {
                    "name": "conf",
                    "configMap": {"name": "settings", "items": [{"key": "app.conf", "path": "deep/one.conf"}]},
                },
                {"name": "keys", "secret": {"secretName": "token", "defaultMode": 0o400}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "host", "hostPath": {"path": str(data), "type": "Directory"}},
            ],
        )
    )
    await world.apply(wanted)
    script = """
        cat /conf/deep/one.conf /etc/one.conf /host/seen; echo
        cat /keys/password 2>/dev/null || echo secret
        echo a > /scratch/a && echo b > /memory/b && cat /scratch/a /memory/b
        (echo x > /conf/x) 2>/dev/null || echo read-only
        (echo x > /host/x) 2>/dev/null || echo read-only
    """
    assert world.engine.run_inside(world.ids()[0], "sh", "-c", script).split() == [
        *("listen=1listen=1by", "the", "host", "secret", "a", "b", "read-only", "read-only"),
    ]
    assert world.state.joinpath("volumes").stat().st_mode & 0o077 == 0

    [file] = world.state.glob("volumes/*/*/conf/deep/one.conf")
    file.write_text("listen=2")
    seen = await world.look(wanted)
    assert seen.differences == ("replica 0: files of its volumes altered",)
    assert (await world.apply(wanted)).as_wanted
    assert world.engine.run_inside(world.ids()[0], "cat", "/etc/one.conf") == "listen=1"


async def test_a_link_out_of_the_allowed_folders_is_not_mounted(world: World) -> None:
    data = world.state.parent / "data"
    data.mkdir()
    (data / "escape").symlink_to("/etc")
    wanted = world.put(
        deployment(
            container(volumeMounts=[{"name": "host", "mountPath": "/host"}]),
            volumes=[{"name": "host", "hostPath": {"path": str(data / "escape")}}],
        )
    )
    with pytest.raises(Exception, match="leads to /etc, which no container may see") as caught:
        await world.apply(wanted)
    assert caught.value.reason == "NotAllowed"  # type: ignore[attr-defined]
    assert world.ids() == []


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
    with anyio.fail_after(10):
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
        with anyio.fail_after(10):  # it fails again, and the second restart has to wait
            while (seen := await world.look(wanted)).reason != "ProbeFailed":
                await anyio.sleep(0.05)
        assert seen.as_wanted
        assert seen.readiness == "degraded"


async def _until_difference(world: World, wanted: Resource, text: str | None) -> None:
    with anyio.fail_after(10):
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
    with anyio.fail_after(10):
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
    with anyio.fail_after(10):
        while (seen := await world.look(wanted)).reason != reason:
            await anyio.sleep(0.05)
    assert seen.readiness == readiness
    assert seen.as_wanted
    with anyio.fail_after(10):
        while world.containers()[0]["State"]["Status"] != state:
            await anyio.sleep(0.02)
    await world.apply(wanted)
    assert len(world.ids()) == 1


async def test_init_containers_run_to_their_end_first_one_after_the_other(world: World) -> None:
    mount = [{"name": "work", "mountPath": "/shared"}]
    write = ["sh", "-c", "sleep 0.3; echo $NAME >> /shared/order"]
    wanted = world.put(
        deployment(
            container(volumeMounts=mount),
            initContainers=[
                container(name=name, command=write, env=[{"name": "NAME", "value": name}], volumeMounts=mount)
                for name in ("one", "two")
            ],
            volumes=[{"name": "work", "emptyDir": {}}],
        )
    )
    seen = await world.apply(wanted)

    assert seen.as_wanted
    [main] = [each for each in world.containers() if "-app-" in each["Name"]]
    assert world.engine.run_inside(main["Id"], "cat", "/shared/order").split() == ["one", "two"]
    for each in world.containers():
        if each["Id"] != main["Id"]:
            world.engine.client.remove_container(each["Id"])
    assert (await world.look(wanted)).as_wanted, "what an initContainer left behind may be cleared away"


async def test_the_containers_of_a_pod_share_the_first_one_s_network_also_after_its_restart(world: World) -> None:
    server = container(name="web", command=["sh", "-c", "echo ok > /tmp/x; exec httpd -f -p 127.0.0.1:80 -h /tmp"])
    wanted = world.put(deployment(server, container(name="client")))
    await world.apply(wanted)
    ask = ("wget", "-q", "-O", "-", "http://127.0.0.1/x")

    def ids() -> tuple[str, str]:
        by_name = {each["Config"]["Labels"]["holdfast.io/container"]: each["Id"] for each in world.containers()}
        return by_name["web"], by_name["client"]

    await eventually(lambda: world.engine.run_inside(ids()[1], *ask) == "ok\n")
    world.engine.client.restart(ids()[0], timeout=0)
    seen = await world.look(wanted)
    assert "earlier start" in seen.differences[0]
    assert (await world.apply(wanted)).as_wanted
    await eventually(lambda: world.engine.run_inside(ids()[1], *ask) == "ok\n")

    world.engine.client.remove_container(ids()[0], force=True)
    assert "the Pod's network with it" in (await world.look(wanted)).differences[0]
    assert (await world.apply(wanted)).as_wanted
    await eventually(lambda: world.engine.run_inside(ids()[1], *ask) == "ok\n")


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
