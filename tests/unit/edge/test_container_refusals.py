"""What a site cannot do, what is wrong and what is not allowed: named with its path, never dropped."""

from typing import Any

import pytest

from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.kinds.pods.admission import Rules
from support.pods import IMAGE, body, config_map, planned, refused

UNSUPPORTED = [
    (body({"lifecycle": {}}), "spec.template.spec.containers[0].lifecycle"),
    (body(nodeSelector={"a": "b"}), "spec.template.spec.nodeSelector"),
    (body(spec={"paused": True}), "spec.paused"),
    (body({"resources": {"limits": {"nvidia.com/gpu": 1}}}), "containers[0].resources.limits.nvidia.com/gpu"),
    (body(volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}]), "volumes[0].nfs"),
    (body(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]), "volumes[0].emptyDir.sizeLimit"),
    (body({"readinessProbe": {"grpc": {"port": 1}}}), "containers[0].readinessProbe.grpc"),
    (body({"readinessProbe": {"tcpSocket": {"port": 1, "host": "192.0.2.1"}}}), "readinessProbe.tcpSocket.host"),
    (body(automountServiceAccountToken=True), "automountServiceAccountToken"),
    (
        body(
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]},
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        "containers[0].volumeMounts[0].subPath",
    ),
]


@pytest.mark.parametrize(("document", "path"), UNSUPPORTED, ids=[path for _, path in UNSUPPORTED])
def test_what_a_site_cannot_do_is_named_with_its_path_and_never_dropped(document: dict[str, Any], path: str) -> None:
    error = refused(document)
    assert isinstance(error, UnsupportedError)
    assert error.reason == "UnsupportedField"
    assert path in error.message


def test_all_unknown_fields_are_named_at_once() -> None:
    error = refused(body({"lifecycle": {}, "typo": 1}, nodeSelector={}, affinity={}))
    assert isinstance(error, UnsupportedError)
    for field in ("containers[0].lifecycle", "containers[0].typo", "spec.nodeSelector", "spec.affinity"):
        assert field in error.message


WRONG = [
    (body({"image": "acme/variant-A:1.0.0"}), "containers[0].image"),
    (body({"image": "--privileged"}), "containers[0].image"),
    (body({"name": "../x"}), "containers[0].name"),
    (body({"image": 3}), "spec.template.spec.containers[0].image: expected `str`"),
    (body({"ports": [{"containerPort": 0}]}), "containers[0].ports[0]"),
    (body({"ports": [{"containerPort": 1, "hostPort": 2}]}, spec={"replicas": 2}), "cannot share host port 2"),
    (body({"ports": [{"containerPort": 1, "hostPort": 2}, {"containerPort": 2, "hostPort": 2}]}), "taken twice"),
    (body({"ports": [{"containerPort": 1, "hostPort": 2}]}, hostNetwork=True), "ports[0].hostPort"),
    (body({"resources": {"limits": {"memory": "64MB"}}}), "resources.limits.memory"),
    (
        body({"resources": {"limits": {"cpu": 1}, "requests": {"cpu": 2}}}),
        "resources.requests.cpu: more than the limit",
    ),
    (body({"env": [{"name": "A=B"}]}), "containers[0].env[0]"),
    (body({"env": [{"name": "A", "value": "x\0"}]}), "containers[0].env[0]"),
    (body({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}), "fieldRef.fieldPath"),
    (body({"env": [{"name": "A", "valueFrom": {}}]}), "exactly one of value"),
    (body({"volumeMounts": [{"name": "none", "mountPath": "/x"}]}), "there is no volume 'none'"),
    (
        body({"volumeMounts": [{"name": "v", "mountPath": "/a/../b"}]}, volumes=[{"name": "v", "emptyDir": {}}]),
        "volumeMounts[0].mountPath",
    ),
    (body(volumes=[{"name": "v"}]), "exactly one of emptyDir"),
    (body(volumes=[{"name": "v", "configMap": {"name": "settings", "defaultMode": 644}}]), "644 is not a mode"),
    (
        body(volumes=[{"name": "v", "configMap": {"name": "settings", "items": [{"key": "a", "path": "../a"}]}}]),
        "configMap.items[0].path",
    ),
    (
        body(volumes=[{"name": "v", "configMap": {"name": "settings", "items": [{"key": "none", "path": "a"}]}}]),
        "settings has no key 'none'",
    ),
    (body({"livenessProbe": {}}), "exactly one of exec, httpGet"),
    (body({"livenessProbe": {"tcpSocket": {"port": "web"}}}), "livenessProbe.tcpSocket.port"),
    (body({"livenessProbe": {"httpGet": {"port": 1, "path": "/\r\nX: y"}}}), "livenessProbe.httpGet.path"),
    (body({"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}}), "successThreshold"),
    (body({"securityContext": {"runAsNonRoot": True, "runAsUser": 0}}), "runAsNonRoot"),
    (body(restartPolicy="Never"), "spec.template.spec.restartPolicy"),
    (body(spec={"replicas": 101}), "spec.replicas"),
    (body(spec={"replicas": -1}), "spec.replicas"),
    (body(spec={"selector": {"matchLabels": {"app": "x"}}}), "spec.selector.matchLabels.app"),
    (body(spec={"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}), "maxUnavailable"),
    (body(initContainers=[{"name": "app", "image": IMAGE}]), "the name 'app' occurs twice"),
    (body() | {"apiVersion": "v1"}, "apiVersion"),
    (body() | {"metadata": {"name": "Vision"}}, "metadata.name"),
    (
        body({"envFrom": [{"secretRef": {"name": "none"}}]}),
        "envFrom[0].secretRef: Secret none is not in the site's target",
    ),
]


@pytest.mark.parametrize(("document", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_is_wrong_is_named_with_its_path(document: dict[str, Any], text: str) -> None:
    error = refused(document, config_map(a="1"))
    assert not isinstance(error, UnsupportedError)
    assert text in error.message


FORBIDDEN = [
    (body({"securityContext": {"privileged": True}}), "securityContext.privileged", True),
    (body({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}), "SYS_ADMIN not allowed", True),
    (body({"securityContext": {"capabilities": {"add": ["ALL"]}}}), "ALL not allowed", True),
    (body(securityContext={"seccompProfile": {"type": "Unconfined"}}), "seccompProfile", True),
    (body(volumes=[{"name": "v", "hostPath": {"path": "/etc"}}]), "volumes[0].hostPath.path", False),
    (body(volumes=[{"name": "v", "hostPath": {"path": "/srv/data-2"}}]), "volumes[0].hostPath.path", False),
    (body(volumes=[{"name": "v", "hostPath": {"path": "/srv/data/../../etc"}}]), "without '..'", False),
]


@pytest.mark.parametrize(("document", "text", "privileged"), FORBIDDEN, ids=[text for _, text, _ in FORBIDDEN])
def test_what_a_site_does_not_allow_is_refused_unless_its_settings_do(
    document: dict[str, Any], text: str, privileged: bool
) -> None:
    error = refused(document)
    assert error.reason == ("BadPod" if ".." in text else "NotAllowed")
    assert text in error.message
    if privileged:
        planned(document, rules=Rules(privileged=True))


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize("path", ["/var/lib/holdfast", "/var/lib/holdfast/secrets", "/var/lib", "/"])
def test_the_agent_s_own_folder_is_never_mounted(path: str) -> None:
    document = body(volumes=[{"name": "v", "hostPath": {"path": path}}])
    error = refused(document, rules=Rules(host_paths=("/",), privileged=True, state="/var/lib/holdfast"))
    assert "the agent's own state" in error.message
