"""Kubernetes' objects as the hub reads them: what is refused and by which path, and the ports of the machine they take."""

from typing import Any

import pytest

from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.pods.check import check
from holdfast_protocol.kinds.pods.cron_job import cron_job
from holdfast_protocol.kinds.pods.image import mirrored, name_and_tag, registry
from holdfast_protocol.kinds.pods.ports import HostPort, ports
from holdfast_protocol.wire.names import resource_key

POD: dict[str, Any] = {"containers": [{"name": "app", "image": "acme/app:1"}]}
ENDING = POD | {"restartPolicy": "Never"}


def body(kind: str, version: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "one", **metadata}, "spec": spec}


def stateful(**spec: Any) -> dict[str, Any]:
    return body("StatefulSet", "apps/v1", {"template": {"spec": POD}, **spec})


def job(**spec: Any) -> dict[str, Any]:
    return body("Job", "batch/v1", {"template": {"spec": ENDING}, **spec})


def cron(**spec: Any) -> dict[str, Any]:
    return body("CronJob", "batch/v1", {"schedule": "@daily", "jobTemplate": {"spec": job()["spec"]}, **spec})


def service(**spec: Any) -> dict[str, Any]:
    return body("Service", "v1", {"selector": {"app": "a"}, "ports": [{"port": 80}], **spec})


def claim(requests: Any = None, **spec: Any) -> dict[str, Any]:
    return body("PersistentVolumeClaim", "v1", {"resources": {"requests": requests or {"storage": "1Gi"}}, **spec})


REFUSED = [
    (stateful(volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": {"resources": {}}}]), "requests.storage"),
    (stateful(updateStrategy={"type": "OnDelete"}), "spec.updateStrategy.type"),
    (stateful(updateStrategy={"rollingUpdate": {"partition": 1}}), "spec.updateStrategy.rollingUpdate.partition"),
    (stateful(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"}), "whenDeleted"),
    (stateful(ordinals={"start": 1}), "spec.ordinals"),
    (body("DaemonSet", "apps/v1", {"template": {"spec": ENDING}}), "spec.template.spec.restartPolicy"),
    (body("DaemonSet", "v1", {"template": {"spec": POD}}), "apiVersion"),
    (body("Job", "batch/v1", {"template": {"spec": POD}}), "spec.template.spec.restartPolicy"),
    (job(parallelism=2), "spec.completions"),
    (job(backoffLimit=-1), "spec.backoffLimit"),
    (job(podFailurePolicy={}), "spec.podFailurePolicy"),
    (cron(schedule="hourly"), "spec.schedule"),
    (cron(timeZone="Mars/Base"), "spec.timeZone"),
    (cron(jobTemplate={"spec": job(completionMode="Indexed")["spec"]}), "spec.jobTemplate.spec.completions"),
    (service(type="LoadBalancer"), "spec.type"),
    (service(sessionAffinity="ClientIP"), "spec.sessionAffinity"),
    (service(ports=[{"port": 80, "targetPort": 8080}]), "spec.ports[0].targetPort"),
    (service(ports=[{"port": 80, "nodePort": 30080}]), "spec.ports[0].nodePort"),
    (service(type="NodePort"), "spec.ports[0].nodePort"),
    (service(selector={}), "spec.selector"),
    (service(externalIPs=["192.0.2.1"]), "spec.externalIPs"),
    (claim({"storage": "much"}), "spec.resources.requests.storage"),
    (claim(storageClassName="fast"), "spec.storageClassName"),
    (claim(volumeMode="Block"), "spec.volumeMode"),
]


@pytest.mark.parametrize(("refused", "path"), REFUSED, ids=[path for _, path in REFUSED])
def test_what_no_site_can_do_is_named_with_its_path(refused: dict[str, Any], path: str) -> None:
    with pytest.raises(PermanentError) as caught:
        check(refused)
    assert path in caught.value.message


@pytest.mark.parametrize("accepted", [stateful(), job(), cron(), service(), claim()], ids=lambda each: each["kind"])
def test_what_is_right_is_accepted(accepted: dict[str, Any]) -> None:
    check(accepted)
    assert ports(accepted) == ()


def test_the_ports_a_workload_takes_of_the_machine_are_told() -> None:
    pod = {"containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}
    on_host = pod | {"hostNetwork": True}
    on_host["containers"] = [{"name": "a", "image": "a:1", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]
    assert ports(body("Pod", "v1", pod)) == (HostPort(8080, "TCP"),)
    assert ports(body("Pod", "v1", on_host)) == (HostPort(53, "UDP"),)
    nodes = service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    assert ports(nodes) == (HostPort(30080, "TCP"),)
    assert ports(body("Deployment", "apps/v1", {"oops": 1})) == ()


def test_the_newest_missed_time_is_due_within_the_deadline_and_never_twice() -> None:
    hourly = cron_job(resource_key(cron()), cron(schedule="0 * * * *", startingDeadlineSeconds=1800))
    ten = 1_790_006_400.0 - 1_790_006_400 % 3600
    assert hourly.due(ten - 1e8, ten + 60, ()) == ten
    assert hourly.due(ten - 1e8, ten + 60, (int(ten),)) is None
    assert hourly.due(ten - 1e8, ten + 1860, ()) is None
    assert hourly.due(ten, ten + 60, ()) is None
    rare = cron_job(resource_key(cron()), cron(schedule="0 0 1 1 *"))
    assert rare.due(ten - 300 * 86_400, ten, ()) is not None


@pytest.mark.parametrize(
    ("reference", "host", "asked"),
    [
        ("busybox", "docker.io", "bastion:5000/library/busybox"),
        ("acme/app:1", "docker.io", "bastion:5000/acme/app:1"),
        ("docker.io/acme/app:1", "docker.io", "bastion:5000/acme/app:1"),
        ("index.docker.io/acme/app", "docker.io", "bastion:5000/acme/app"),
        ("ghcr.io/acme/app:1", "ghcr.io", "ghcr.io/acme/app:1"),
        ("localhost/app", "localhost", "localhost/app"),
        ("lan:5000/app:1", "lan:5000", "lan:5000/app:1"),
    ],
)
def test_an_image_is_asked_of_the_mirror_of_its_registry(reference: str, host: str, asked: str) -> None:
    assert registry(reference) == host
    assert mirrored(reference, {"docker.io": "bastion:5000"}) == asked


def test_a_port_is_no_tag() -> None:
    assert name_and_tag("lan:5000/app") == ("lan:5000/app", "latest")
    assert name_and_tag("lan:5000/app:2") == ("lan:5000/app", "2")
