"""What a change does beside itself: what starts again, why, and what must be fetched."""

from typing import Any

import pytest

from holdfast_hub.core.effects import images, restarts
from holdfast_protocol.wire.target import Content, resource

SERVICE = "[Service]\nExecStart=/usr/bin/true\n"


def body(kind: str, spec: dict[str, Any], name: str = "it", version: str = "holdfast.io/v1alpha1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def web(image: str = "r/web:1", pod: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "web", "image": image, **container}], **(pod or {})}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    return body("Deployment", {"selector": {"matchLabels": {"app": "web"}}, "template": template}, "web", "apps/v1")


def replicas(count: int) -> dict[str, Any]:
    made = web()
    return {**made, "spec": {**made["spec"], "replicas": count}}


def config(kind: str = "ConfigMap", **data: str) -> dict[str, Any]:
    part = "data" if kind == "ConfigMap" else "stringData"
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "web"}, part: data}


def content(*bodies: dict[str, Any]) -> Content:
    return Content(resources=tuple(resource(each) for each in bodies))


def said(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    return {each.what: each.why for each in restarts(content(*before), content(*after))}


VARIABLE: dict[str, Any] = {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "a"}}}]}
VOLUME: dict[str, Any] = {"volumes": [{"name": "v", "secret": {"secretName": "web"}}]}
MOUNT: dict[str, Any] = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([web()], [web("r/web:2")], {"Deployment/web": ("container web: image",)}),
        ([web()], [web(args=["-v"], image="r/web:2")], {"Deployment/web": ("container web: args, image",)}),
        ([web()], [web(pod={"hostNetwork": True})], {"Deployment/web": ("hostNetwork",)}),
        ([web()], [web(imagePullPolicy="Always", livenessProbe={"tcpSocket": {"port": 80}})], {}),
        ([web()], [replicas(3)], {}),
        ([web()], [web()], {}),
        ([], [web()], {}),
        ([web()], [], {}),
        (
            [web(**VARIABLE), config(a="1", b="1")],
            [web(**VARIABLE), config(a="2", b="1")],
            {"Deployment/web": ("ConfigMap/web",)},
        ),
        ([web(**VARIABLE), config(a="1", b="1")], [web(**VARIABLE), config(a="1", b="2")], {}),
        (
            [web(pod=VOLUME, **MOUNT), config("Secret", a="1")],
            [web(pod=VOLUME, **MOUNT), config("Secret", a="2")],
            {"Deployment/web": ("Secret/web",)},
        ),
        (
            [body("SystemdService", {"unit": SERVICE})],
            [body("SystemdService", {"unit": SERVICE + "Nice=1\n", "dropIns": {"x": "[Service]\nNice=2\n"}})],
            {"SystemdService/it": ("it.service", "it.service.d/x.conf")},
        ),
        (
            [body("SystemdService", {"unit": SERVICE})],
            [body("SystemdService", {"unit": SERVICE, "enabled": False})],
            {},
        ),
        (
            [],
            [body("SystemdDropIn", {"unit": "nginx.service", "dropIns": {"a": "[Service]\nNice=1\n"}})],
            {"nginx.service": ("SystemdDropIn/it comes",)},
        ),
        (
            [body("SystemdDropIn", {"unit": "nginx.service", "dropIns": {"a": "[Service]\nNice=1\n"}})],
            [body("SystemdDropIn", {"unit": "nginx.service", "dropIns": {"a": "[Service]\nNice=2\n"}})],
            {"nginx.service": ("SystemdDropIn/it changes",)},
        ),
        (
            [body("SystemdDropIn", {"unit": "a.service", "dropIns": {"a": "[Service]\nNice=1\n"}})],
            [body("SystemdDropIn", {"unit": "b.service", "dropIns": {"a": "[Service]\nNice=1\n"}})],
            {"b.service": ("SystemdDropIn/it comes",), "a.service": ("SystemdDropIn/it goes",)},
        ),
        (
            [body("File", {"path": "/a", "content": "1"})],
            [body("File", {"path": "/a", "content": "2"})],
            {},
        ),
    ],
)
def test_what_starts_again_is_told_with_the_parts_that_differ(
    before: list[dict[str, Any]], after: list[dict[str, Any]], expected: dict[str, tuple[str, ...]]
) -> None:
    assert said(before, after) == expected


def test_a_field_said_that_was_meant_before_changes_nothing() -> None:
    plain = web(ports=[{"containerPort": 80}])
    assert said([plain], [web(ports=[{"containerPort": 80, "protocol": "TCP"}])]) == {}


def test_images_to_fetch_are_those_not_named_before() -> None:
    before, after = content(web("r/a:1"), config()), content(web("r/a:2"), config())
    assert images(before, after) == ["r/a:2"]
    assert images(after, after) == []
    assert images(Content(), before) == ["r/a:1"]
