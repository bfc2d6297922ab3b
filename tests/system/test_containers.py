"""Containers on a real engine of our own: made as said, mended, replaced one after the other, ours alone."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_protocol.errors import TransientError
from support.clock import Running, eventually
from support.container_world import World, container, deployment
from support.engine import IMAGE, OTHER_IMAGE, RealEngine, running_engine

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
