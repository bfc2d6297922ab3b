"""What comes after what."""

from typing import Any

import pytest

from holdfast_edge.core import order
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource


def thing(kind: str, name: str, *after: str, spec: dict[str, Any] | None = None, namespace: str = "") -> Resource:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec or {}}
    return resource(body, depends_on=tuple(ResourceKey(each) for each in after))


def test_what_is_named_in_depends_on_comes_first() -> None:
    graph = order.dependencies([thing("File", "b", "File/a"), thing("File", "a")])
    assert graph == {"File/b": ("File/a",), "File/a": ()}
    assert order.sequence(graph) == ("File/a", "File/b")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]}, "ConfigMap/c"),
        ({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}, "Secret/s"),
        ({"template": {"spec": {"volumes": [{"configMap": {"name": "c"}}]}}}, "ConfigMap/c"),
        ({"volumes": [{"secret": {"secretName": "s"}}]}, "Secret/s"),
        ({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}, "Secret/s"),
        ({"imagePullSecrets": [{"name": "s"}]}, "Secret/s"),
    ],
)
def test_a_pod_comes_after_what_it_mentions(spec: dict[str, Any], expected: str) -> None:
    every = [thing("Pod", "p", spec=spec), thing("ConfigMap", "c"), thing("Secret", "s")]
    assert order.dependencies(every)[ResourceKey("Pod/p")] == (expected,)


def test_a_file_comes_after_its_content() -> None:
    file = thing("File", "f", spec={"contentFrom": {"configMap": {"name": "c", "key": "k"}}})
    assert order.dependencies([file, thing("ConfigMap", "c")])[file.key] == ("ConfigMap/c",)


def test_a_mention_means_the_same_namespace() -> None:
    spec = {"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]}
    here, there = thing("ConfigMap", "c", namespace="here"), thing("ConfigMap", "c", namespace="there")
    pod = thing("Pod", "p", spec=spec, namespace="here")
    assert order.dependencies([pod, here, there])[pod.key] == (here.key,)


def test_a_mention_of_what_is_not_in_the_target_is_no_dependency_but_depends_on_is() -> None:
    spec = {"containers": [{"envFrom": [{"configMapRef": {"name": "elsewhere"}}]}]}
    assert order.dependencies([thing("Pod", "p", spec=spec)]) == {"Pod/p": ()}
    assert order.dependencies([thing("Pod", "p", "File/gone")]) == {"Pod/p": ("File/gone",)}


@pytest.mark.parametrize("name", [7, None, {"x": 1}, ["a"]])
def test_a_mention_that_is_no_name_is_left_to_the_provider(name: Any) -> None:
    spec = {"volumes": [{"configMap": {"name": name}}], "imagePullSecrets": [{"name": name}, name]}
    assert order.dependencies([thing("Pod", "p", spec=spec)]) == {"Pod/p": ()}


def test_a_circle_is_refused_by_name() -> None:
    graph = order.dependencies(
        [thing("File", "a", "File/b"), thing("File", "b", "File/c"), thing("File", "c", "File/a")]
    )
    with pytest.raises(WireError, match="File/") as refusal:
        order.sequence(graph)
    assert refusal.value.reason == "DependencyCycle"


def test_a_service_comes_after_what_it_is_restarted_with_where_that_is_in_the_target() -> None:
    spec = {"unit": "", "restartOn": ["File/b", "File/elsewhere", 7]}
    graph = order.dependencies([thing("SystemdService", "a", spec=spec), thing("File", "b")])
    assert graph["SystemdService/a"] == ("File/b",)  # type: ignore[index]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_every_workload_comes_after_the_configuration_it_mentions(kind: str) -> None:
    spec = {"template": {"spec": {"volumes": [{"configMap": {"name": "c"}}]}}}
    graph = order.dependencies([thing(kind, "a", spec=spec), thing("ConfigMap", "c")])
    assert graph[f"{kind}/a"] == ("ConfigMap/c",)  # type: ignore[index]
