"""Claims: what only one resource of a site may have, of every kind that has such a thing."""

from typing import Any

import pytest

from holdfast_protocol.kinds.claims import Claimed, claims

SERVICE = "[Service]\nExecStart=/usr/bin/true\n"


def body(
    kind: str, spec: Any, name: str = "it", version: str = "holdfast.io/v1alpha1", space: str = ""
) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": space} if space else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def pod(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return body("Pod", {"containers": [{"name": "a", "image": "r/a:1", "ports": list(ports)}], **spec}, version="v1")


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (body("File", {"path": "//etc/./motd", "content": ""}), ("file /etc/motd",)),
        (body("Directory", {"path": "/srv/data"}), ("file /srv/data",)),
        (body("File", {"path": 3}), ()),
        (body("File", None), ()),
        (
            body("SystemdService", {"unit": SERVICE, "name": "driver", "dropIns": {"more": "[Service]\nNice=1\n"}}),
            (
                "unit driver.service",
                "file /etc/systemd/system/driver.service",
                "file /etc/systemd/system/driver.service.d/more.conf",
            ),
        ),
        (
            body("SystemdTimer", {"unit": "[Timer]\nOnCalendar=daily\n"}),
            ("unit it.timer", "file /etc/systemd/system/it.timer"),
        ),
        (
            body("SystemdMount", {"unit": "[Mount]\nWhat=tmpfs\nWhere=/srv/data\n"}),
            ("unit srv-data.mount", "file /etc/systemd/system/srv-data.mount"),
        ),
        (
            body("SystemdDropIn", {"unit": "nginx.service", "dropIns": {"a": "[Service]\nNice=1\n"}}),
            ("file /etc/systemd/system/nginx.service.d/a.conf",),
        ),
        (body("SystemdUnit", {"name": "nginx.service", "masked": True}), ("unit nginx.service",)),
        (body("Sysctl", {"settings": {"net.ipv4.ip_forward": 1}}), ("sysctl net.ipv4.ip_forward", "Sysctl it")),
        (body("KernelModule", {"name": "loop", "parameters": {"max_loop": 8}}), ("module loop", "KernelModule it")),
        (body("KernelModule", {"name": "loop"}), ("KernelModule it",)),
        (body("Hostname", {"hostname": "press"}), ("the machine's name",)),
        (body("Time", {"timezone": "Etc/UTC"}), ("the machine's time zone",)),
        (body("Time", {"ntpServers": ["ntp.example"]}), ("the machine's clock",)),
        (
            body(
                "Kubernetes",
                {"manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}]},
            ),
            ("manifest ConfigMap/b/a",),
        ),
        (body("Package", {"name": "vim"}), ()),
        (body("Package", {"packages": [{"name": "vim", "version": "9"}]}), ("package vim",)),
        (body("User", {}, "plant"), ("user plant",)),
        (body("Group", {}, "plant"), ("group plant",)),
        (pod({"containerPort": 80}), ()),
        (pod({"containerPort": 80, "hostPort": 8080}), ("port 8080/tcp",)),
        (pod({"containerPort": 53, "hostPort": 53, "protocol": "UDP"}), ("port 53/udp",)),
        (pod({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}), ("port 80/tcp at 127.0.0.1",)),
        (pod({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}), ("port 80/tcp",)),
        (pod({"containerPort": 9100}, hostNetwork=True), ("port 9100/tcp",)),
        (
            body(
                "Service",
                {"selector": {"app": "a"}, "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
                version="v1",
            ),
            ("port 30080/tcp",),
        ),
        (
            body(
                "PersistentVolumeClaim",
                {"resources": {"requests": {"storage": "1Gi"}}},
                "data-db-0",
                version="v1",
                space="plant",
            ),
            ("volume plant/data-db-0",),
        ),
    ],
)
def test_each_kind_claims_what_it_has_for_itself(of: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert claims(of) == expected


@pytest.mark.parametrize(
    ("line", "claim"),
    [
        ("ListenStream=8080", "port 8080/tcp"),
        ("ListenStream=[::]:8080", "port 8080/tcp"),
        ("ListenStream=0.0.0.0:8080", "port 8080/tcp"),
        ("ListenStream=127.0.0.1:8080", "port 8080/tcp at 127.0.0.1"),
        ("ListenStream=[::1]:8080", "port 8080/tcp at ::1"),
        ("ListenStream=8080\nBindToDevice=eth1", "port 8080/tcp at %eth1"),
        ("SocketProtocol=sctp\nListenStream=8080", "port 8080/sctp"),
        ("ListenDatagram=514", "port 514/udp"),
        ("ListenStream=/run/it.sock", "file /run/it.sock"),
        ("ListenSequentialPacket=/run/it.seq", "file /run/it.seq"),
        ("ListenFIFO=/run/it.fifo", "file /run/it.fifo"),
        ("ListenStream=@it", "socket @it"),
        ("ListenStream=8080\nListenStream=\nListenStream=8081", "port 8081/tcp"),
    ],
)
def test_a_socket_unit_claims_what_it_listens_on(line: str, claim: str) -> None:
    found = claims(body("SystemdSocket", {"unit": f"[Socket]\n{line}\n"}))
    assert found[:2] == ("unit it.socket", "file /etc/systemd/system/it.socket")
    assert found[2:] == (claim,)


def test_a_stateful_set_claims_the_volumes_of_its_pods() -> None:
    spec = {
        "serviceName": "db",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "a", "image": "r/a:1"}]}},
        "volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
        ],
    }
    assert claims(body("StatefulSet", spec, "db", "apps/v1")) == ("volume data-db-0", "volume data-db-1")


def test_a_port_on_every_address_meets_the_same_port_on_any() -> None:
    claimed = Claimed()
    assert claimed.take("port 80/tcp at 127.0.0.1", "A") == ""
    assert claimed.take("port 80/tcp at 10.0.0.1", "B") == ""
    assert claimed.take("port 80/tcp at 127.0.0.1", "C") == "A"
    assert claimed.take("port 80/tcp", "D") == "A"
    assert claimed.take("port 80/tcp at 10.9.9.9", "E") == "D"
    assert claimed.take("port 80/udp", "F") == ""
    assert claimed.take("port 80/udp", "F") == ""
