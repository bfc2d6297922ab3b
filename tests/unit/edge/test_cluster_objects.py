"""Objects of an API server: what differs, when they are ready, and to which servers the agent talks."""

from typing import Any

import pytest

from holdfast_edge.providers.kubernetes import objects
from holdfast_edge.providers.kubernetes.access import Access, problem


def test_only_what_applying_would_change_is_a_difference() -> None:
    now = {
        "metadata": {"resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {"ports": [1, 2], "x": 1},
        "status": {"a": 1},
    }
    then = {"metadata": {"resourceVersion": "9", "labels": {"a": "c"}}, "spec": {"ports": [1, 3], "x": 1}, "status": {}}
    assert objects.differences(now, then) == ["metadata.labels.a", "spec.ports[1]"]
    many = {"spec": {str(number): number for number in range(50)}}
    assert len(objects.differences({"spec": {}}, many)) == objects.MAX_DIFFERENCES + 1


@pytest.mark.parametrize(
    ("body", "readiness"),
    [
        ({"data": {}}, "ready"),
        ({"metadata": {"deletionTimestamp": "now"}}, "progressing"),
        ({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}, "progressing"),
        ({"kind": "StatefulSet", "spec": {"replicas": 2}, "status": {"readyReplicas": 2}}, "progressing"),
        ({"kind": "Deployment", "spec": {"replicas": 0}, "status": {}}, "ready"),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "progressing"),
        (
            {"status": {"conditions": [{"type": "Complete", "status": "True"}, {"type": "Failed", "status": "False"}]}},
            "ready",
        ),
        ({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}, "degraded"),
        ({"status": {"conditions": "none"}}, "ready"),
    ],
)
def test_readiness_is_read_from_the_status(body: dict[str, Any], readiness: str) -> None:
    assert objects.readiness(body)[0] == readiness


@pytest.mark.parametrize(
    ("server", "fine"),
    [
        ("https://10.0.0.1:6443", True),
        ("http://127.0.0.1:8001", True),
        ("http://[::1]:8001", True),
        ("http://10.0.0.1:8001", False),
        ("http://127.0.0.1.example.org:8001", False),
        ("https://user@10.0.0.1", False),
        ("https://10.0.0.1/path", False),
        ("https://10.0.0.1:99999", False),
        ("unix:///run/x", False),
        ("https://", False),
    ],
)
def test_a_server_is_verified_or_this_machine(server: str, fine: bool) -> None:
    assert (problem(Access(server)) == "") is fine
    assert problem(Access(server, cert_file="/a"))
    assert problem(Access("https://10.0.0.1", ca_file="a"))
