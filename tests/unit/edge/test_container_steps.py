"""What has to be done so that the containers found become those planned: pure, case by case."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast_edge.providers.container.found import Found, found
from holdfast_edge.providers.container.planner import Planned, Planner
from holdfast_edge.providers.container.steps import Health, Plan, Situation, plan
from holdfast_edge.providers.port import Scope
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import resource

OLD = {"env": [{"name": "OLD", "value": "1"}]}


def planned(
    *, replicas: int = 1, names: Sequence[str] = ("app",), init: Sequence[str] = (), extra: Mapping[str, Any] = {}
) -> Planned:
    def containers(names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"name": name, "image": "box:1", **extra} for name in names]

    pod = {"containers": containers(names), "initContainers": containers(init)}
    wanted = resource(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "vision"},
            "spec": {"replicas": replicas, "template": {"spec": pod}},
        }
    )
    return Planner(SiteName("lyon"), Path("/"), Rules()).planned(wanted, Scope({wanted.key: wanted}))


def running(made: Planned, **changes: Any) -> list[Found]:
    """Return the containers as they are when all is well, with ids such as 0-app."""
    return [
        msgspec.structs.replace(
            Found(
                id=f"{pod.replica}-{each.container}",
                name=each.name,
                resource=made.key,
                digest=pod.digest,
                replica=str(pod.replica),
                container=each.container,
                image="image",
                state="running",
                started_at=100.0,
                restart_policy="always",
            ),
            **changes,
        )
        for pod in made.pods
        for each in pod.containers
    ]


def with_change(containers: list[Found], number: int, **changes: Any) -> list[Found]:
    return [
        msgspec.structs.replace(each, **changes) if index == number else each for index, each in enumerate(containers)
    ]


def steps(made: Planned, containers: Sequence[Found], **situation: Any) -> Plan:
    return plan(Situation(made.pods, containers, **{"policy": "Always", "images": {"box:1": "image"}, **situation}))


def acts(made: Plan) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(step.action, step.replica, step.ids) for step in made.steps]


def test_what_is_as_planned_needs_nothing() -> None:
    made = planned(replicas=3, names=("a", "b"))
    assert steps(made, running(made)) == Plan()


def test_what_is_absent_is_built() -> None:
    made = planned(replicas=2)
    assert acts(steps(made, [])) == [("build", 0, ()), ("build", 1, ())]
    assert acts(steps(made, running(made)[:1])) == [("build", 1, ())]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "created"}, [("build", 0, ())]),
        ({"state": "exited", "exit_code": 0}, [("build", 0, ())]),
        ({"state": "exited", "exit_code": 137}, [("build", 0, ())]),
        ({"state": "restarting"}, []),
        ({"state": "paused"}, [("unpause", 0, ("0-app",))]),
        ({"state": "dead"}, [("replace", 0, ("0-app",))]),
        ({"name": "other"}, [("replace", 0, ("0-app",))]),
        ({"memory": 1}, [("replace", 0, ("0-app",))]),
        ({"nano_cpus": 1}, [("replace", 0, ("0-app",))]),
        ({"restart_policy": "no"}, [("replace", 0, ("0-app",))]),
        ({"digest": "older"}, [("replace", 0, ("0-app",))]),
        ({"image": "other"}, [("replace", 0, ("0-app",))]),
        ({"replica": "7"}, [("remove", -1, ("0-app",)), ("build", 0, ())]),
        ({"replica": "00"}, [("remove", -1, ("0-app",)), ("build", 0, ())]),
        ({"container": "gone"}, [("remove", 0, ("0-app",)), ("build", 0, ())]),
    ],
)
def test_each_state_has_its_step(changes: Mapping[str, Any], expected: list[Any]) -> None:
    made = planned()
    assert acts(steps(made, running(made, **changes))) == expected


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Always", 0, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_an_end_is_final_where_the_policy_says_so(policy: str, code: int, again: bool) -> None:
    made = planned()
    ended = running(made, state="exited", exit_code=code)
    assert bool(steps(made, ended, policy=policy).steps) is again


def test_an_image_that_is_gone_is_no_reason_to_touch_what_runs() -> None:
    made = planned()
    assert steps(made, running(made, image="untagged"), images={}) == Plan()


def test_replicas_are_replaced_one_at_a_time_and_the_rest_waits() -> None:
    made = planned(replicas=3)
    old = running(made, digest="older")
    first = steps(made, old)
    assert acts(first) == [("replace", 0, ("0-app",))]
    assert len(first.waits) == 2
    assert len(first.differences) == 3, "what waits is a difference all the same"

    second = [*running(made)[:1], *old[1:]]
    assert acts(steps(made, second, health={"0-app": Health(uptime_s=1.0)})) == [], "not settled"
    assert acts(steps(made, second, health={"0-app": Health(ready=False)})) == [], "not ready"
    assert acts(steps(made, second)) == [("replace", 1, ("1-app",))]
    assert acts(steps(made, second, min_ready_s=60.0, health={"0-app": Health(uptime_s=59.0)})) == []


def test_as_many_are_replaced_at_once_as_may_be_down() -> None:
    made = planned(replicas=4)
    old = running(made, digest="older")
    assert [step.replica for step in steps(made, old, at_once=2).steps] == [0, 1]
    assert [step.replica for step in steps(made, old, at_once=4).steps] == [0, 1, 2, 3]
    one_is_down = with_change(old, 3, state="exited")
    assert [step.replica for step in steps(made, one_is_down, at_once=2).steps] == [3, 0]


def test_an_old_replica_that_serves_nobody_is_replaced_though_no_other_may_go() -> None:
    made = planned(replicas=2)
    old = with_change(running(made, digest="older"), 1, state="exited")
    result = steps(made, old)
    assert acts(result) == [("replace", 1, ("1-app",))]
    assert len(result.waits) == 1


def test_a_broken_replica_of_the_new_revision_holds_the_rollout() -> None:
    made = planned(replicas=3)
    now = [*running(made, state="restarting")[:1], *running(made, digest="older")[1:]]
    result = steps(made, now)
    assert result.steps == ()
    assert len(result.waits) == 2


def test_of_two_that_claim_one_place_the_one_with_the_right_name_stays() -> None:
    made = planned()
    twin = running(made, id="twin", name="hf-other")
    assert acts(steps(made, [*running(made), *twin])) == [("remove", 0, ("twin",))]
    assert acts(steps(made, [*twin, *running(made)])) == [("remove", 0, ("twin",))]


def test_a_pod_whose_first_container_is_gone_is_made_anew_and_one_of_the_others_alone() -> None:
    made = planned(names=("a", "b", "c"))
    every = running(made)
    assert acts(steps(made, every[1:])) == [("replace", 0, ("0-b", "0-c"))]
    assert acts(steps(made, every[:2])) == [("build", 0, ())]


def test_a_container_in_an_earlier_network_of_its_pod_is_restarted() -> None:
    made = planned(names=("a", "b"))
    again = with_change(running(made), 0, started_at=200.0)
    assert acts(steps(made, again)) == [("restart", 0, ("0-b",))]
    assert acts(steps(made, with_change(again, 1, started_at=201.0))) == []


def test_a_failed_probe_restarts_when_its_back_off_is_over() -> None:
    made = planned()
    failing = Health(ready=False, restart_now=True, why="liveness probe: exit code 1")
    result = steps(made, running(made), health={"0-app": failing})
    assert acts(result) == [("restart", 0, ("0-app",))]
    assert "liveness probe: exit code 1" in result.differences[0]


def test_altered_files_cost_their_pod_and_no_pod_of_another_revision() -> None:
    made = planned(replicas=2)
    assert acts(steps(made, running(made), damaged=frozenset({1}))) == [("replace", 1, ("1-app",))]
    rolling = steps(made, running(made, digest="older"), damaged=frozenset({0, 1}))
    assert acts(rolling) == [("replace", 0, ("0-app",))]


@pytest.mark.parametrize(
    ("states", "policy", "expected", "waits"),
    [
        ([], "Always", ["build"], 0),
        ([("created", 0)], "Always", ["build"], 0),
        ([("running", 0)], "Always", [], 1),
        ([("restarting", 1)], "Always", [], 1),
        ([("exited", 0)], "Always", ["build"], 0),
        ([("exited", 1)], "OnFailure", ["build"], 0),
        ([("exited", 1)], "Never", [], 0),
        ([("exited", 0), ("running", 0)], "Always", [], 1),
        ([("exited", 0), ("exited", 0)], "Always", ["build"], 0),
    ],
)
def test_init_containers_go_first_one_by_one(
    states: list[tuple[str, int]], policy: str, expected: list[str], waits: int
) -> None:
    made = planned(init=("one", "two"))
    pod = made.pods[0]
    there = [
        Found(
            id=each.container,
            name=each.name,
            resource=made.key,
            digest=pod.digest,
            replica="0",
            container=each.container,
            image="image",
            state=state,  # type: ignore[arg-type]
            exit_code=code,
            restart_policy="on-failure",
        )
        for each, (state, code) in zip(pod.init, states, strict=False)
    ]
    result = steps(made, there, policy=policy)
    assert [step.action for step in result.steps] == expected
    assert len(result.waits) == waits


def test_no_order_of_what_is_found_changes_the_plan() -> None:
    made = planned(replicas=3, names=("a", "b"))
    now = with_change(running(made, digest="older"), 3, state="exited")
    assert steps(made, now) == steps(made, list(reversed(now)))


def test_what_engines_say_is_read_with_fields_left_out() -> None:
    assert found({"Id": "x"}).state == "dead"
    read = found(
        {
            "Id": "x",
            "Name": "/n",
            "Image": "sha256:abc",
            "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": "stopped", "StartedAt": "2026-01-01T01:00:00.123456789+01:00", "ExitCode": 3},
            "Config": {"Labels": None, "StopTimeout": 0},
            "NetworkSettings": {"Networks": {"a": None, "b": {"IPAddress": "10.0.0.2"}}, "Ports": {"80/tcp": None}},
        }
    )
    assert (read.state, read.image, read.name, read.exit_code, read.grace_s) == ("exited", "abc", "n", 3, 0)
    assert read.started_at == pytest.approx(1767225600.123, abs=0.001)
    assert (read.address, read.bindings) == ("10.0.0.2", {})
    assert found({"Id": "x", "State": {"StartedAt": "0001-01-01T00:00:00Z"}}).started_at == 0.0
