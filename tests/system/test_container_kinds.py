"""StatefulSet, DaemonSet, Job, CronJob, Service and PersistentVolumeClaim on a real engine."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.port import Observed
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.target import Resource
from support.containers import FOREVER, Site, container, hurried, labelled, pod_spec
from support.engine import RealEngine, running_engine
from support.podman import running_podman
from support.waiting import HANGS_S

pytestmark = [pytest.mark.root, pytest.mark.anyio]


Test = TypeVar("Test", bound=Callable[..., Any])


def on_podman_too(test: Test) -> Test:
    """Have a test run on both engines: what differs between them is what these use."""
    test.__dict__["engines"] = ("docker", "podman")
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    engines = getattr(metafunc.function, "engines", ("docker",))
    metafunc.parametrize("engine", engines, indirect=True, scope="module")


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    with running_engine(bridge=True) if request.param == "docker" else running_podman() as running:
        yield running


@pytest.fixture
async def site(engine: RealEngine, tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(engine, tmp_path / "state")
    yield made
    await made.close()
    engine.clear()


def stateful_set(replicas: int = 2, **fields: Any) -> dict[str, Any]:
    mount = [{"name": "data", "mountPath": "/data"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": labelled("db", pod_spec(container(volumeMounts=mount, **fields))),
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }
            ],
        },
    }


def job(*command: str, name: str = "migrate", pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": pod_spec(container(command=list(command))) | {"restartPolicy": "Never"} | (pod or {}),
            },
            **spec,
        },
    }


def claim(**annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "records", "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }


def service(name: str, app: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}], **spec},
    }


def deployment(app: str, *command: str, replicas: int = 1, **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app},
        "spec": {
            "replicas": replicas,
            "template": labelled(app, pod_spec(container(command=list(command or FOREVER))) | pod),
        },
    }


SERVE = ("sh", "-c", "echo $HOSTNAME > /tmp/x; exec httpd -f -p 80 -h /tmp")


async def test_a_stateful_set_has_ordinals_an_order_and_data_that_outlives_it(site: Site) -> None:
    wanted = site.put(stateful_set())
    seen = await site.apply(wanted)
    assert seen.as_wanted
    assert seen.status == {
        "replicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "updatedReplicas": 2,
        "currentReplicas": 2,
    }
    first, second = site.containers()
    assert [each["Config"]["Hostname"] for each in (first, second)] == ["db-0", "db-1"]
    assert first["State"]["StartedAt"] < second["Created"]
    site.engine.run_inside(second["Id"], "sh", "-c", "echo mine > /data/x")

    changed = site.put(stateful_set(env=[{"name": "V", "value": "2"}]))
    assert (await site.apply(changed)).as_wanted
    first, second = site.containers()
    assert second["State"]["StartedAt"] < first["Created"], "the highest goes first"
    assert site.engine.run_inside(second["Id"], "cat", "/data/x") == "mine\n"

    site.engine.client.remove_container(second["Id"], force=True)
    assert (await site.look(changed)).differences == ("replica 1, container app: absent",)
    assert (await site.apply(changed)).as_wanted

    fewer = await site.apply(site.put(stateful_set(replicas=1)))
    assert [each["Config"]["Hostname"] for each in site.containers()] == ["db-0"]
    assert fewer.status["replicas"] == 1
    await site.remove(wanted)
    assert site.containers() == []
    again = await site.apply(site.put(stateful_set()))
    assert again.as_wanted
    assert site.engine.run_inside(site.containers()[1]["Id"], "cat", "/data/x") == "mine\n"


@on_podman_too
async def test_a_stateful_set_waits_for_the_one_below_before_it_makes_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch, 0.5)
    probe = {"exec": {"command": ["test", "-e", "/data/ready"]}, "periodSeconds": 1}
    wanted = site.put(stateful_set(readinessProbe=probe))
    async with site.watching():
        with pytest.raises(TransientError, match="waits for replica 0 to be ready"):
            await site.apply(wanted)
        [only] = site.containers()
        site.engine.run_inside(only["Id"], "sh", "-c", "echo > /data/ready")
        with anyio.fail_after(HANGS_S):
            while len(site.containers()) == 1:
                with suppress(TransientError):
                    await site.apply(wanted)


@on_podman_too
async def test_a_daemon_set_is_one_pod_on_this_node(site: Site) -> None:
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "logs"},
        "spec": {"selector": {"matchLabels": {"app": "logs"}}, "template": labelled("logs", pod_spec(container()))},
    }
    wanted = site.put(body)
    seen = await site.apply(wanted)
    assert seen.as_wanted
    assert (seen.status["desiredNumberScheduled"], seen.status["numberReady"]) == (1, 1)
    [only] = site.containers()
    assert only["Config"]["Hostname"] == "logs"
    site.engine.client.kill(only["Id"])
    assert not (await site.look(wanted)).as_wanted
    assert (await site.apply(wanted)).as_wanted
    await site.remove(wanted)
    assert site.containers() == []


async def test_all_that_begins_at_once_finds_itself_in_one_network(site: Site) -> None:
    def networks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = site.engine.client.networks(names=["^holdfast-lyon$"])
        return found

    engines = [Engine(site.engine.url) for _ in range(6)]  # as each provider has its own
    async with anyio.create_task_group() as group:
        for each in engines:
            group.start_soon(each.ensure_network, "holdfast-lyon", {})
    assert len(networks()) == 1
    kept = networks()[0]["Id"]
    site.engine.client.create_network(
        "holdfast-lyon", driver="bridge"
    )  # the engine takes it, and knows neither by name
    await engines[0].ensure_network("holdfast-lyon", {})
    assert [each["Id"] for each in networks()] == [kept]
    for each in engines:
        await each.remove_idle_network("holdfast-lyon")
        await each.close()


async def settled(site: Site, wanted: Resource, reason: str) -> Observed:
    """Do as the loop does, look and apply, until the resource says `reason`."""
    with anyio.fail_after(HANGS_S):
        while True:
            seen = await site.look(wanted)
            if seen.differences:
                await site.apply(wanted)
            elif seen.reason == reason:
                return seen
            await anyio.sleep(0.02)


def count(folder: Path) -> int:
    return len((folder / "count").read_text().splitlines()) if (folder / "count").exists() else 0


def counting(site: Site, *command: str, **spec: Any) -> dict[str, Any]:
    """A Job whose every start leaves a line."""
    data = site.data
    body = job("sh", "-c", "; ".join(("echo $JOB_COMPLETION_INDEX >> /host/count", *command)), **spec)
    pod = body["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "host", "hostPath": {"path": str(data)}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "host", "mountPath": "/host"}]
    return body


@on_podman_too
async def test_a_job_runs_once_whatever_happens_to_the_agent_its_ledger_or_its_containers(site: Site) -> None:
    wanted = site.put(counting(site))
    assert not (await site.look(wanted)).exists
    seen = await settled(site, wanted, "Complete")
    assert (seen.readiness, seen.status["succeeded"], seen.status["active"]) == ("ready", 1, 0)
    assert seen.status["conditions"][0]["type"] == "Complete"
    assert count(site.data) == 1

    await site.restart_agent()
    assert (await site.look(wanted)).as_wanted
    [ledger] = (site.state / "jobs").glob("*.json")
    ledger.unlink()  # the containers tell
    await settled(site, wanted, "Complete")
    for each in site.containers():
        site.engine.client.remove_container(each["Id"])
    await site.restart_agent()  # the ledger tells
    await settled(site, wanted, "Complete")
    assert count(site.data) == 1

    changed = site.put(counting(site, "echo other"))
    await settled(site, changed, "Complete")
    assert count(site.data) == 2
    await site.remove(changed)
    assert site.containers() == []
    assert not list((site.state / "jobs").glob("*.json"))


async def test_a_job_makes_so_many_completions_side_by_side_each_with_its_index(site: Site) -> None:
    wanted = site.put(counting(site, completions=3, parallelism=2, completionMode="Indexed", ttlSecondsAfterFinished=0))
    seen = await settled(site, wanted, "Complete")
    assert seen.status["completedIndexes"] == "0,1,2"
    assert sorted((site.data / "count").read_text().split()) == ["0", "1", "2"]
    assert site.containers() == [], "its time to live is over"
    assert (await site.look(wanted)).as_wanted


async def test_a_job_that_fails_is_tried_again_later_and_not_for_ever(site: Site) -> None:
    wanted = site.put(counting(site, "exit 3", backoffLimit=1))
    with anyio.fail_after(HANGS_S):
        while (await site.look(wanted)).reason != "Retrying":
            await site.apply(wanted)
    assert (await site.look(wanted)).as_wanted, "it waits"
    assert count(site.data) == 1
    site.clock.advance(11)
    seen = await settled(site, wanted, "JobFailed")
    assert count(site.data) == 2
    assert seen.readiness == "degraded"
    assert "BackoffLimitExceeded" in seen.message
    assert "exit code 3" in seen.message
    site.clock.advance(3600)
    assert (await site.look(wanted)).as_wanted


async def test_a_job_past_its_deadline_is_stopped_and_a_suspended_one_does_not_run(site: Site) -> None:
    held = site.put(job(*FOREVER, name="held", suspend=True))
    assert (await settled(site, held, "Suspended")).status["conditions"][0]["type"] == "Suspended"
    assert site.containers() == []
    wanted = site.put(job(*FOREVER, activeDeadlineSeconds=60))
    await settled(site, wanted, "Running")
    site.clock.advance(61)
    seen = await settled(site, wanted, "JobFailed")
    assert seen.status["conditions"][0]["reason"] == "DeadlineExceeded"
    assert [each["State"]["Running"] for each in site.containers()] == [False]


class Killed(BaseException):
    """The agent dies here."""


async def test_a_kill_at_any_point_of_a_job_leaves_one_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for point in range(4):
        wanted = site.put(counting(site, f"echo {point}"))
        before = count(site.data)
        left = point
        provider = site.provider_of(wanted)
        for owner, name in ((provider._engine, "create"), (provider._engine, "start")):
            original = getattr(owner, name)

            async def call(*args: Any, original: Any = original) -> Any:
                nonlocal left
                left -= 1
                if left == -1:
                    raise Killed
                answer = await original(*args)
                left -= 1
                if left == -1:
                    raise Killed
                return answer

            monkeypatch.setattr(owner, name, call)
        with pytest.raises(Killed):
            await site.apply(wanted)
        await site.restart_agent()
        await settled(site, wanted, "Complete")
        assert count(site.data) == before + 1, point


def cron_job(site: Site, *command: str, **spec: Any) -> dict[str, Any]:
    body = counting(site, *command)
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report"},
        "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": body["spec"]}, **spec},
    }


async def test_a_cron_job_runs_at_its_times_once_each_and_makes_up_for_the_newest_missed_one(site: Site) -> None:
    site.clock.set_wall(1_790_000_000.0 - 1_790_000_000 % 3600 + 1800)
    wanted = site.put(cron_job(site, successfulJobsHistoryLimit=1))
    seen = await settled(site, wanted, "Scheduled")
    assert count(site.data) == 0, "what was due before it came is not made up for"
    site.clock.advance(1801)
    assert "attempt 0 is to run" in (await site.look(wanted)).differences[0]
    seen = await settled_runs(site, wanted, 1)
    assert seen.status["lastScheduleTime"].endswith(":00:00Z")
    assert (await site.look(wanted)).as_wanted

    site.clock.advance(5 * 3600)  # switched off
    await site.restart_agent()
    await settled_runs(site, wanted, 2)
    assert len(site.containers()) == 1, "the history holds one"

    site.clock.set_wall(site.clock.wall() - 7200)  # the clock was set back
    await settled(site, wanted, "Scheduled")
    site.clock.advance(7201)
    await settled(site, wanted, "Scheduled")
    assert count(site.data) == 2
    held = site.put(cron_job(site, suspend=True))
    site.clock.advance(7200)
    await settled(site, held, "Suspended")
    assert count(site.data) == 2
    await site.remove(wanted)
    assert site.containers() == []


async def settled_runs(site: Site, wanted: Resource, runs: int) -> Observed:
    with anyio.fail_after(HANGS_S):
        while True:
            seen = await settled(site, wanted, "Scheduled")
            if count(site.data) == runs and not seen.status["active"]:
                return seen
            await anyio.sleep(0.02)


@pytest.mark.parametrize(("policy", "running"), [("Forbid", 1), ("Replace", 1), ("Allow", 2)])
async def test_runs_of_a_cron_job_meet_as_its_policy_says(site: Site, policy: str, running: int) -> None:
    site.clock.set_wall(1_790_000_000.0 - 1_790_000_000 % 3600 + 3599)
    wanted = site.put(cron_job(site, "trap exit TERM; sleep 3600 & wait", concurrencyPolicy=policy))
    await settled(site, wanted, "Scheduled")
    site.clock.advance(2)
    await settled(site, wanted, "Scheduled")
    [first] = site.containers()
    site.clock.advance(3600)
    with anyio.fail_after(HANGS_S):
        while (await site.look(wanted)).differences:
            await site.apply(wanted)
    alive = [each["Id"] for each in site.containers() if each["State"]["Running"]]
    assert len(alive) == running
    assert (first["Id"] in alive) == (policy != "Replace")


async def test_a_pod_taken_off_the_network_by_hand_is_found_by_its_name_again(site: Site) -> None:
    client = site.put(deployment("client"))
    await site.apply(client)
    server = site.put(deployment("web", *SERVE))
    await site.apply(server)
    wanted = site.put(service("shop", "web", ports=[{"port": 80}]))
    assert (await site.apply(wanted)).as_wanted
    [asks] = [each["Id"] for each in site.containers() if "client" in each["Name"]]
    [serves] = [each["Id"] for each in site.containers() if "-web-" in each["Name"]]
    site.engine.client.disconnect_container_from_network(serves, "holdfast-lyon")
    assert "is not in the network" in (await site.look(wanted)).differences[0]
    assert (await site.apply(wanted)).as_wanted
    with anyio.fail_after(HANGS_S):
        while not site.ask(asks, "shop").startswith("web-"):
            await anyio.sleep(0.05)


@on_podman_too
async def test_pods_find_one_another_by_the_name_of_a_service_and_by_that_of_the_machine_s_port(site: Site) -> None:
    client = site.put(deployment("client"))
    await site.apply(client)  # before there was any Service
    server = site.put(deployment("web", *SERVE))
    await site.apply(server)
    wanted = site.put(service("shop", "web", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    await site.apply(server)  # its port is published with it
    seen = await site.look(wanted)
    assert not seen.as_wanted
    assert (await site.apply(wanted)).as_wanted
    [asks] = [each["Id"] for each in site.containers() if "client" in each["Name"]]

    async def answered(name: str) -> str:
        with anyio.fail_after(
            HANGS_S
        ):  # an address that went to another interface is found again when the old one is forgotten
            while not (answer := site.ask(asks, name)).startswith("web-"):
                await anyio.sleep(0.05)
        return answer

    for name in ("shop", "shop.default", "shop.default.svc.cluster.local"):
        assert await answered(name) == "web-0\n"
    assert site.ask_machine("http://127.0.0.1:30080/x") == "web-0\n"

    [serves] = [each["Id"] for each in site.containers() if "-web-" in each["Name"]]
    site.engine.client.remove_container(serves, force=True)
    await site.apply(server)
    assert (await site.look(wanted)).as_wanted, "a new Pod has the name from its start"

    del site.resources[wanted.key]
    await site.remove(wanted)
    assert not [name for each in site.containers() for name in site.names(each) if name.startswith("shop")]
    for each in (client, server):
        await site.remove(each)
    assert site.engine.client.networks(names=["holdfast-lyon"]) == []


async def test_replicas_made_at_once_stand_in_one_network(site: Site) -> None:
    site.put(service("shop", "web"))
    wanted = site.put(deployment("web", replicas=4))
    assert (await site.apply(wanted)).as_wanted
    assert len({str(each["NetworkSettings"]["Networks"]["holdfast-lyon"]) for each in site.containers()}) == 4
    assert len(site.engine.client.networks(names=["^holdfast-lyon$"])) == 1
    await site.remove(wanted)
    assert site.engine.client.networks(names=["^holdfast-lyon$"]) == []


async def test_a_container_that_cannot_start_is_told_and_holds_up_no_later_one_of_its_pod(site: Site) -> None:
    bad = container(name="bad", command=["/no/such/program"])
    body = deployment("web")
    body["spec"]["template"]["spec"]["containers"] += [bad, container(name="other")]
    with pytest.raises(TransientError, match="no/such/program"):
        await site.apply(site.put(body))
    states = {each["Config"]["Labels"]["holdfast.io/container"]: each["State"]["Status"] for each in site.containers()}
    assert states == {"app": "running", "bad": "created", "other": "running"}


async def test_each_pod_of_a_stateful_set_has_a_name_behind_its_service(site: Site) -> None:
    wanted = site.put(service("db", "db", clusterIP="None"))
    await site.apply(wanted)
    await site.apply(site.put(stateful_set(command=list(SERVE))))
    assert (await site.look(wanted)).as_wanted
    first = site.containers()[0]
    with anyio.fail_after(HANGS_S):
        while site.ask(first["Id"], "db-1.db") != "db-1\n":
            await anyio.sleep(0.05)


@on_podman_too
@pytest.mark.invariant("only-owned-things-are-removed")
async def test_the_data_of_a_claim_stays_unless_the_claim_says_otherwise(site: Site) -> None:
    wanted = site.put(claim())
    seen = await site.apply(wanted)
    assert seen.as_wanted
    assert seen.status["phase"] == "Bound"
    volumes = [{"name": "r", "persistentVolumeClaim": {"claimName": "records"}}]
    user = site.put(deployment("user", volumes=volumes))
    user.body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "r", "mountPath": "/r"}]
    user = site.put(user.body)
    await site.apply(user)
    site.engine.run_inside(site.containers()[0]["Id"], "sh", "-c", "echo kept > /r/x")
    await site.remove(user)
    await site.remove(wanted)
    [data] = site.state.glob("claims/_/records/data/x")
    assert data.read_text() == "kept\n"
    assert (await site.look(wanted)).differences == ("the folder is not in its name",)
    await site.apply(wanted)
    assert data.read_text() == "kept\n"

    data.unlink()
    data.parent.rmdir()
    assert "gone, and the data in it" in (await site.look(wanted)).differences[0]
    await site.apply(wanted)
    await site.apply(user)
    doomed = site.put(claim(**{"holdfast.io/reclaim-policy": "Delete"}))
    with pytest.raises(TransientError, match="still used by"):
        await site.remove(doomed)
    await site.remove(user)
    await site.remove(doomed)
    assert not data.parent.parent.exists()


async def test_a_device_of_the_machine_is_given_with_leave_to_use_it(site: Site) -> None:
    site.allow("/dev/null")
    body = deployment("device", volumes=[{"name": "d", "hostPath": {"path": "/dev/null", "type": "CharDevice"}}])
    body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "d", "mountPath": "/dev/camera0"}]
    await site.apply(site.put(body))
    [only] = site.containers()
    assert site.engine.run_inside(only["Id"], "sh", "-c", "echo x > /dev/camera0 && echo ok") == "ok\n"
