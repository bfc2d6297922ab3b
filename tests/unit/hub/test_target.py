"""Composing a site's target: the same instances give the same bytes, and nothing has two owners."""

from typing import Any

import pytest

from holdfast_hub.core.target import MAX_CONTENT, Contribution, compose
from holdfast_protocol.kinds.claims import claims
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import MAX_KEY, MAX_RESOURCES
from support.builders import file_body

UNIT = "[Service]\nExecStart=/usr/bin/true\n"


def contribution(owner: str, *bodies: dict[str, Any]) -> Contribution:
    return Contribution(owner, tuple(target.resource(body, id="it", instance=owner) for body in bodies))


def unit(name: str, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "SystemdService",
        "metadata": metadata,
        "spec": {"unit": UNIT},
    }


@pytest.mark.invariant("same-inputs-same-plan")
def test_the_order_instances_come_in_changes_nothing() -> None:
    one, two = contribution("A/a", file_body("a", "/a")), contribution("B/b", file_body("b", "/b"))
    assert compose([one, two]) == compose([two, one])
    assert [each.instance for each in compose([two, one]).content.resources] == ["A/a", "B/b"]


def test_another_content_has_another_digest() -> None:
    one = compose([contribution("A/a", file_body(content="one"))])
    assert one.digest != compose([contribution("A/a", file_body(content="two"))]).digest
    assert one.digest == compose([contribution("A/a", file_body(content="one"))]).digest


def test_a_site_with_no_instances_gets_an_empty_target_not_none() -> None:
    composed = compose([])
    assert composed.content.resources == ()
    assert composed.digest
    assert not composed.problems


@pytest.mark.parametrize(
    ("first", "second", "claim"),
    [
        (file_body("motd", "/a"), file_body("motd", "/b"), "File/motd"),
        (file_body("one", "/etc/motd"), file_body("two", "/etc/motd"), "file /etc/motd"),
        (file_body("one", "/etc/motd"), file_body("two", "//etc/./motd"), "file /etc/motd"),
        (unit("driver", "a"), unit("driver", "b"), "unit driver.service"),
        (unit("driver"), unit("driver.service"), "unit driver.service"),
    ],
)
def test_two_instances_that_claim_the_same_are_both_named(
    first: dict[str, Any], second: dict[str, Any], claim: str
) -> None:
    (problem,) = compose([contribution("A/a", first), contribution("B/b", second)]).problems
    assert problem.message == f"both A/a and B/b claim {claim}"
    assert problem.resource == "B/b"
    assert problem.hint


def test_two_resources_of_one_instance_that_claim_the_same_are_both_named() -> None:
    (problem,) = compose([contribution("A/a", file_body("one", "/etc/motd"), file_body("two", "/etc/motd"))]).problems
    assert problem.message == "both File/one and File/two of A/a claim file /etc/motd"


def test_a_stateful_set_may_use_the_volume_its_own_instance_makes_and_no_other() -> None:
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "r/a:1"}]}}
    wish = {"resources": {"requests": {"storage": "1Gi"}}}
    spec = {
        "serviceName": "db",
        "selector": {"matchLabels": {"a": "b"}},
        "template": pods,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": wish}],
    }
    db = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-db-0"}, "spec": wish}
    assert compose([contribution("A/a", db, volume)]).problems == ()
    (problem,) = compose([contribution("A/a", db), contribution("B/b", volume)]).problems
    assert problem.message == "both A/a and B/b claim volume data-db-0"


def test_a_unit_and_a_file_in_its_place_meet() -> None:
    placed = file_body("two", "/etc/systemd/system/driver.service")
    (problem,) = compose([contribution("A/a", unit("driver")), contribution("B/b", placed)]).problems
    assert problem.message == "both A/a and B/b claim file /etc/systemd/system/driver.service"


def test_a_file_of_no_path_claims_none() -> None:
    assert claims({**file_body(), "spec": {"path": 3}}) == ()
    assert claims({**file_body(), "spec": None}) == ()


def test_a_target_that_could_not_be_sent_is_refused() -> None:
    many = contribution("A/a", *(file_body(f"f{n}", f"/f{n}") for n in range(MAX_RESOURCES + 1)))
    assert "resources at one site" in compose([many]).problems[0].message
    large = contribution("A/a", file_body(content="x" * MAX_CONTENT))
    assert "bytes, the limit is" in compose([large]).problems[0].message


def test_a_key_that_no_site_would_take_is_refused_here() -> None:
    assert compose([contribution("A/a", file_body("x" * (MAX_KEY - len("File/")), "/a"))]).problems == ()
    (problem,) = compose([contribution("A/a", file_body("x" * MAX_KEY, "/a"))]).problems
    assert "the limit is" in problem.message
