"""Strategic merge patches, as Kubernetes lays them over its own kinds."""

import copy
from typing import Any

import pytest

from holdfast_protocol.blueprint.merging import merge_flaws, merged

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"a": "1", "b": "2"}},
    "spec": {
        "hostNetwork": True,
        "containers": [
            {
                "name": "app",
                "image": "app:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "args": ["-v", "-x"],
                "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}],
            },
            {"name": "side", "image": "side:1"},
        ],
        "tolerations": [{"key": "a"}],
    },
}


def app(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "app", **fields}]}}


def container(patch: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = merged(POD, patch)["spec"]["containers"][index]
    return found


def test_maps_merge_and_null_takes_away() -> None:
    result = merged(POD, {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"hostNetwork": None}})
    assert result["metadata"] == {"name": "web", "labels": {"b": "2", "c": "3"}}
    assert "hostNetwork" not in result["spec"]
    assert len(result["spec"]["containers"]) == 2


def test_neither_the_resource_nor_the_patch_is_changed() -> None:
    patch = app(env=[{"name": "A", "value": "9"}], resources={"limits": {"memory": "1Mi"}})
    before, asked = copy.deepcopy(POD), copy.deepcopy(patch)
    merged(merged(POD, patch), {"metadata": {"labels": {"a": "changed"}}})
    assert (before, asked) == (POD, patch)


def test_containers_and_variables_merge_by_their_name_in_the_order_they_had() -> None:
    result = container(app(image="app:2", env=[{"name": "B", "value": "9"}, {"name": "C", "value": "3"}]))
    assert result["image"] == "app:2"
    assert [(each["name"], each["value"]) for each in result["env"]] == [("A", "1"), ("B", "9"), ("C", "3")]
    assert result["args"] == ["-v", "-x"]
    assert container(app(), 1) == {"name": "side", "image": "side:1"}


def test_a_port_named_with_its_protocol_is_that_one() -> None:
    assert container(app(ports=[{"containerPort": 53, "protocol": "TCP", "hostPort": 5353}]))["ports"] == [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 53, "protocol": "TCP", "hostPort": 5353},
    ]


def test_an_item_can_be_deleted_and_a_list_or_map_replaced() -> None:
    gone = merged(POD, {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}})
    assert [each["name"] for each in gone["spec"]["containers"]] == ["app"]
    only = merged(POD, {"spec": {"containers": [{"$patch": "replace"}, {"name": "new"}]}})
    assert only["spec"]["containers"] == [{"name": "new"}]
    assert merged(POD, {"metadata": {"labels": {"$patch": "replace", "z": "1"}}})["metadata"]["labels"] == {"z": "1"}
    assert "labels" not in merged(POD, {"metadata": {"labels": {"$patch": "delete"}}})["metadata"]


def test_deleting_what_is_not_there_changes_nothing() -> None:
    assert merged(POD, {"spec": {"containers": [{"name": "other", "$patch": "delete"}]}}) == POD


def test_other_lists_and_lists_of_other_kinds_are_replaced() -> None:
    assert merged(POD, {"spec": {"tolerations": [{"key": "b"}]}})["spec"]["tolerations"] == [{"key": "b"}]
    assert container(app(args=["-q"]))["args"] == ["-q"]
    ours = {**POD, "apiVersion": "holdfast.io/v1alpha1", "kind": "Gadget"}
    assert len(merged(ours, app())["spec"]["containers"]) == 1
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"ports": [{"port": 1}]}}
    assert merged(policy, {"spec": {"ports": [{"port": 2}]}})["spec"]["ports"] == [{"port": 2}]


def test_the_ports_of_a_service_merge_by_port() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}, {"port": 81, "nodePort": 1}]}}
    assert merged(service, {"spec": {"ports": [{"port": 81, "nodePort": 2}]}})["spec"]["ports"] == [
        {"port": 80},
        {"port": 81, "nodePort": 2},
    ]


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"spec": {"$patch": "erase"}}, ("spec", "$patch")),
        ({"spec": {"$retainKeys": ["a"]}}, ("spec", "$retainKeys")),
        ({"spec": {"containers": [{"$setElementOrder/env": []}]}}, ("spec", "containers", 0, "$setElementOrder/env")),
    ],
)
def test_what_has_no_meaning_here_is_refused_at_its_place(patch: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert [each.path for each in merge_flaws(patch)] == [path]
