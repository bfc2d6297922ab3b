"""Policies: conditions on rendered resources, in the three forms the documents show."""

from typing import Any

import pytest

from holdfast_protocol.blueprint import policy
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.target import Resource, resource

PRIVILEGED = {
    "rules": [
        {
            "name": "not-privileged",
            "expression": "containers.all(c, c.?securityContext.?privileged.orValue(false) != true)",
            "message": "no container may be privileged",
        }
    ]
}
IMAGES = {
    "rules": [{"expression": 'containers.all(c, c.image.startsWith("bastion:5000/"))', "message": "only the bastion's"}]
}
PATHS = {
    "match": {"kinds": ["File", "Directory"]},
    "rules": [{"expression": 'object.spec.path.startsWith("/etc/plant/")', "message": "files go below /etc/plant"}],
}


def file(path: str, **metadata: str) -> Resource:
    spec = {"path": path, "content": ""}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": "File", "metadata": {"name": "f", **metadata}, "spec": spec}
    return resource(body, instance="Line/press")


def workload(kind: str = "Deployment", **container: Any) -> Resource:
    pod = {"containers": [{"name": "app", "image": "bastion:5000/app:1", **container}]}
    spec: dict[str, Any] = {"template": {"spec": pod}}
    if kind in ("Pod", "CronJob"):
        spec = pod if kind == "Pod" else {"jobTemplate": {"spec": spec}}
    return resource({"apiVersion": "v1", "kind": kind, "metadata": {"name": "app"}, "spec": spec})


def said(spec: dict[str, Any], on: Resource) -> list[str]:
    return [str(each) for each in policy.violations([policy.compiled(policy.entry("p", spec))], on)]


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "DaemonSet", "CronJob"])
def test_containers_are_found_in_whatever_makes_pods(kind: str) -> None:
    for spec in (PRIVILEGED, IMAGES):
        assert said(spec, workload(kind)) == []
    bad = workload(kind, securityContext={"privileged": True}, image="docker.io/app:1")
    assert said(PRIVILEGED, bad) == ["Policy/p (not-privileged): no container may be privileged"]
    assert said(IMAGES, bad) == ["Policy/p: only the bastion's"]


def test_an_init_container_is_a_container() -> None:
    pod = {"initContainers": [{"name": "i", "image": "x:1"}], "containers": []}
    assert said(IMAGES, resource({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}))


def test_a_rule_concerns_the_kinds_and_namespaces_it_matches_and_no_other() -> None:
    assert said(PATHS, file("/etc/plant/a")) == []
    assert said(PATHS, file("/etc/shadow")) == ["Policy/p: files go below /etc/plant"]
    assert said(PATHS, workload()) == []
    for namespaces, count in ((["default"], 1), (["plant"], 0)):
        spec = {**PATHS, "match": {"namespaces": namespaces, "kinds": ["File"]}}
        assert len(said(spec, file("/etc/shadow"))) == count
    assert said({**PATHS, "match": {"namespaces": ["plant"]}}, file("/x", namespace="plant"))


def test_what_cannot_be_decided_is_refused() -> None:
    spec = {"rules": [{"expression": "object.spec.owner == 'root'", "message": "root owns it"}]}
    (text,) = said(spec, file("/a"))
    assert "root owns it (it could not be decided:" in text
    endless = {"rules": [{"expression": "lists.range(200).all(a, lists.range(200).all(b, a + b >= 0))"}]}
    assert "could not be decided" in said(endless, file("/a"))[0]
    number = {"rules": [{"expression": "object.spec"}]}
    assert said(number, file("/a")), "anything but true is broken"


def test_an_instance_may_be_named() -> None:
    spec = {"rules": [{"expression": "instance.startsWith('Line/')", "message": "lines only"}]}
    assert said(spec, file("/a")) == []
    assert said(spec, workload()) == ["Policy/p: lines only"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, ("rules",)),
        ({"rules": []}, ("rules",)),
        ({"rules": [{"expression": "true"}] * (policy.MAX_RULES + 1)}, ("rules",)),
        ({"rules": ["true"]}, ("rules", 0)),
        ({"rules": [{"message": "x"}]}, ("rules", 0, "expression")),
        ({"rules": [{"expression": "${true}"}]}, ("rules", 0, "expression")),
        ({"rules": [{"expression": "size(object)"}]}, ("rules", 0, "expression")),
        ({"rules": [{"expression": "omit()"}]}, ("rules", 0, "expression")),
        ({"rules": [{"expression": "schema.spec.x"}]}, ("rules", 0, "expression")),
        ({"rules": [{"expression": "true", "massage": "x"}]}, ("rules", 0, "massage")),
        ({"rules": [{"expression": "true", "message": "x" * 2000}]}, ("rules", 0, "message")),
        ({"rules": [{"expression": "true"}], "match": {"kinds": []}}, ("match", "kinds")),
        ({"rules": [{"expression": "true"}], "match": {"kinds": "File"}}, ("match", "kinds")),
        ({"rules": [{"expression": "true"}], "match": []}, ("match",)),
        ({"rules": [{"expression": "true"}], "mode": "warn"}, ("mode",)),
        ({"rules": [{"expression": "true || '" + "x" * 16_000 + "' == ''"} for _ in range(5)]}, ()),
    ],
)
def test_every_mistake_has_its_place(spec: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert [each.path for each in policy.flaws(spec)] == [path]


def test_a_mistake_in_an_expression_says_at_which_character() -> None:
    (flaw,) = policy.flaws({"rules": [{"expression": "object.kind == nam"}]})
    assert flaw.offset == 15
    assert "unknown name 'nam'" in flaw.message


def test_a_policy_no_site_could_read_is_an_error_of_the_wire() -> None:
    for entry in ({"name": "p", "rules": [{"expression": "1 +"}]}, {"rules": [{"expression": "true"}]}):
        with pytest.raises(WireError) as caught:
            policy.compiled(entry)
        assert caught.value.reason == "BadPolicy"
