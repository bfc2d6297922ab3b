"""What containers are made from: each field of a Pod as the engine is told of it."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.container.planner import Planned, Planner
from holdfast_edge.providers.port import Scope
from holdfast_protocol.kinds.pods.admission import Rules
from holdfast_protocol.kinds.pods.environment import expanded
from holdfast_protocol.kinds.pods.quantities import nano_cpus, whole_bytes
from holdfast_protocol.kinds.pods.reading import workload
from holdfast_protocol.kinds.pods.specification import container_name, default_pull_policy
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.target import resource
from support.pods import IMAGE, RULES, SITE, body, config_map, planned, refused


def config(document: dict[str, Any], *others: dict[str, Any], rules: Rules = RULES) -> dict[str, Any]:
    """Return the create call's body of the first replica's first container."""
    return planned(document, *others, rules=rules).pods[0].containers[0].config


def secret(**data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": encoded}


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("64Mi", 64 << 20),
        ("1.5Gi", 3 << 29),
        ("1G", 10**9),
        ("128974848", 128974848),
        (128974848, 128974848),
        ("129e6", 129_000_000),
        ("1E", 10**18),
        ("1k", 1000),
        ("100m", 1),
        (".5Ki", 512),
    ],
)
def test_memory_quantities_are_bytes_rounded_up(quantity: str | int, expected: int) -> None:
    assert whole_bytes(quantity) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("500m", 500_000_000), ("0.5", 500_000_000), (2, 2_000_000_000), (0.1, 100_000_000), ("1u", 1_000_000)],
)
def test_cpu_quantities_are_billionths_of_a_cpu_by_thousandths(quantity: str | float, expected: int) -> None:
    assert nano_cpus(quantity) == expected


@pytest.mark.parametrize(
    "quantity", ["", "1 Gi", "1GB", "-1", "Mi", "1e", "1e999", "0x10", "1Mi ", "9" * 19, "½", True]
)
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError):
        whole_bytes(quantity)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $ $(A", "$A $ $(A"),
        ("a$$b", "a$b"),
        ("$()", "$()"),
    ],
)
def test_references_to_variables_expand_as_kubernetes_defines_it(text: str, expected: str) -> None:
    assert expanded(text, {"A": "1", "B": "2"}) == expected


def test_command_replaces_the_entrypoint_and_args_the_command_of_the_image() -> None:
    made = config(
        body({"command": ["/run", "$(MODE)"], "args": ["--x", "$(NONE)"], "env": [{"name": "MODE", "value": "m"}]})
    )
    assert made["Entrypoint"] == ["/run", "m"]
    assert made["Cmd"] == ["--x", "$(NONE)"]
    plain = config(body())
    assert "Entrypoint" not in plain
    assert "Cmd" not in plain


@pytest.mark.invariant("no-shell-strings")
def test_what_would_mean_something_to_a_shell_stays_one_argument() -> None:
    nasty = ["a; reboot", "$(reboot)", "`reboot` && x | y > z", "--", "new\nline", "'\"\\"]
    made = config(body({"command": nasty, "args": nasty, "livenessProbe": {"exec": {"command": nasty}}}))
    assert made["Entrypoint"] == made["Cmd"] == nasty


def test_variables_come_in_order_and_the_later_wins() -> None:
    made = config(
        body(
            {
                "envFrom": [
                    {"configMapRef": {"name": "settings"}},
                    {"prefix": "S_", "secretRef": {"name": "token"}},
                    {"configMapRef": {"name": "absent", "optional": True}},
                ],
                "env": [
                    {"name": "MODE", "value": "own"},
                    {"name": "URL", "value": "http://$(HOST)/$(S_key)"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
                    {
                        "name": "NONE",
                        "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x", "optional": True}},
                    },
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
            }
        ),
        config_map(HOST="h", MODE="theirs"),
        secret(key="k"),
    )
    assert made["Env"] == ["HOST=h", "MODE=own", "S_key=k", "URL=http://h/k", "KEY=k", "POD=vision-0"]


def test_ports_of_all_containers_are_published_by_the_first_whose_network_they_share() -> None:
    second = {"name": "side", "image": IMAGE, "ports": [{"containerPort": 9, "hostPort": 99, "protocol": "UDP"}]}
    document = body({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}, {"containerPort": 81}]})
    document["spec"]["template"]["spec"]["containers"].append(second)
    first, other = planned(document).pods[0].containers
    assert first.config["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}, "9/udp": {}}
    assert first.host["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "9/udp": [{"HostIp": "", "HostPort": "99"}],
    }
    assert first.config["Hostname"] == "vision-0"
    assert (first.joins, other.joins) == (False, True)
    assert not {"ExposedPorts", "Hostname"} & set(other.config)


def test_with_host_network_nothing_is_published_or_joined() -> None:
    document = body({"ports": [{"containerPort": 80, "hostPort": 80}]}, hostNetwork=True)
    document["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": IMAGE})
    both = planned(document).pods[0].containers
    assert [each.host["NetworkMode"] for each in both] == ["host", "host"]
    assert not any(each.joins for each in both)
    assert not any("PortBindings" in each.host for each in both)


def test_resources_become_the_engine_s_limits() -> None:
    made = config(
        body(
            {"resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "32Mi", "cpu": "0.25"}}}
        )
    )
    host = made["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (64 << 20, 64 << 20, 32 << 20)
    assert (host["NanoCpus"], host["CpuShares"]) == (500_000_000, 256)


@pytest.mark.parametrize(
    ("kind", "policy", "expected"),
    [
        ("Deployment", "Always", "always"),
        ("Pod", "Always", "always"),
        ("Pod", "OnFailure", "on-failure"),
        ("Pod", "Never", "no"),
    ],
)
def test_restart_policies_are_the_engine_s_own(kind: str, policy: str, expected: str) -> None:
    document = body(restartPolicy=policy)
    if kind == "Pod":
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job"}, **document["spec"]["template"]}
    assert config(document)["HostConfig"]["RestartPolicy"] == {"Name": expected}


def test_security_contexts_of_pod_and_container_are_joined() -> None:
    made = config(
        body(
            {
                "securityContext": {
                    "runAsGroup": 7,
                    "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"], "add": ["CAP_NET_BIND_SERVICE", "CHOWN"]},
                    "runAsUser": 6,
                    "seccompProfile": {"type": "RuntimeDefault"},
                }
            },
            securityContext={"runAsUser": 5, "supplementalGroups": [9]},
        )
    )
    host = made["HostConfig"]
    assert made["User"] == "6:7"
    assert (host["ReadonlyRootfs"], host["SecurityOpt"], host["GroupAdd"]) == (True, ["no-new-privileges"], ["9"])
    assert (host["CapAdd"], host["CapDrop"]) == (["CHOWN", "NET_BIND_SERVICE"], ["ALL"])
    assert "Privileged" not in host


def test_volumes_become_mounts_and_files() -> None:
    pod = planned(
        body(
            {
                "volumeMounts": [
                    {"name": "conf", "mountPath": "/conf"},
                    {"name": "keys", "mountPath": "/keys/k", "subPath": "k"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "memory", "mountPath": "/memory"},
                    {"name": "host", "mountPath": "/host", "readOnly": True},
                ]
            },
            volumes=[
                {
                    "name": "conf",
                    "configMap": {"name": "settings", "items": [{"key": "a", "path": "x/a", "mode": 0o600}]},
                },
                {"name": "keys", "secret": {"secretName": "token", "defaultMode": 0o440}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "host", "hostPath": {"path": "/srv/data/in", "type": "Directory"}},
            ],
        ),
        config_map(a="1", b="2"),
        secret(k="s"),
    ).pods[0]
    [main] = pod.containers
    assert main.host["Mounts"] == [
        {"Type": "bind", "Target": "/conf", "ReadOnly": True, "Source": f"{pod.folder}/conf"},
        {"Type": "bind", "Target": "/keys/k", "ReadOnly": True, "Source": f"{pod.folder}/keys/k"},
        {"Type": "bind", "Target": "/scratch", "ReadOnly": False, "Source": f"{pod.folder}/scratch"},
        {
            "Type": "tmpfs",
            "Target": "/memory",
            "ReadOnly": False,
            "TmpfsOptions": {"Mode": 0o777, "SizeBytes": 1 << 20},
        },
        {"Type": "bind", "Target": "/host", "ReadOnly": True, "Source": "/srv/data/in"},
    ]
    assert [(file.path, file.content, file.mode) for file in pod.files["conf"]] == [("x/a", b"1", 0o600)]
    assert [(file.path, file.content, file.mode) for file in pod.files["keys"]] == [("k", b"s", 0o440)]
    assert pod.folders == ("scratch",)
    assert pod.host_paths == (("/srv/data/in", "Directory"),)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("vision", "Always"),
        ("registry:5000/vision", "Always"),
        ("vision:latest", "Always"),
        ("vision:1.0", "IfNotPresent"),
        ("vision@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_the_default_pull_policy_goes_by_the_tag(image: str, policy: str) -> None:
    assert default_pull_policy(image) == policy


@pytest.mark.invariant("same-inputs-same-plan")
def test_the_digest_changes_with_what_containers_are_made_from_and_with_nothing_else() -> None:
    reading = {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "used"}}}]}
    settings = config_map(used="1", unused="1")

    def digest(container: Mapping[str, Any] = reading, settings: dict[str, Any] = settings, **more: Any) -> str:
        return planned(body(container, **more), settings).pods[0].digest

    before = digest()
    assert digest() == before
    assert digest(spec={"replicas": 3}) == before
    assert digest(settings=config_map(used="1", unused="2")) == before
    assert digest({**reading, "livenessProbe": {"tcpSocket": {"port": 80}}, "imagePullPolicy": "Never"}) == before
    assert digest({**reading, "args": [], "stdin": False}) == before, "a default written out"
    assert digest(settings=config_map(used="2", unused="1")) != before
    assert digest({**reading, "args": ["x"]}) != before
    assert digest(terminationGracePeriodSeconds=1) != before

    restarted = body(reading)
    restarted["spec"]["template"]["metadata"] = {"annotations": {"restartedAt": "now"}}
    assert planned(restarted, settings).pods[0].digest != before


def test_labels_say_whose_a_container_is() -> None:
    document = body(spec={"replicas": 2})
    document["spec"]["template"]["metadata"] = {"labels": {"app": "vision"}}
    pods = planned(document).pods
    assert pods[1].containers[0].config["Labels"] == {
        "app": "vision",
        "holdfast.io/site": "lyon",
        "holdfast.io/resource": "Deployment/vision",
        "holdfast.io/digest": pods[0].digest,
        "holdfast.io/replica": "1",
        "holdfast.io/container": "app",
    }


def test_names_are_stable_and_apart_where_joining_would_make_them_equal() -> None:
    def name(site: str, deployment: str, container: str) -> str:
        document = body()
        document["metadata"]["name"] = deployment
        return container_name(SiteName(site), workload(resource(document)), 0, container)

    names = [name("a", "b-0", "c"), name("a", "b", "0-c"), name("a-b", "0", "c"), name("a", "b-0-0", "c")]
    assert len(set(names)) == len(names)
    assert name("a", "b-0", "c") == names[0]
    assert len(name("a", "x" * 63 + "." + "y" * 63, "c" * 63)) < 200


@pytest.mark.parametrize(
    ("strategy", "replicas", "at_once"),
    [
        (None, 3, 1),
        (None, 8, 2),
        ({"rollingUpdate": {"maxUnavailable": 2}}, 5, 2),
        ({"rollingUpdate": {"maxUnavailable": "50%", "maxSurge": 0}}, 4, 2),
        ({"rollingUpdate": {"maxUnavailable": "10%"}}, 4, 1),
        ({"type": "Recreate"}, 4, 4),
    ],
)
def test_max_unavailable_says_how_many_replicas_go_at_once(strategy: Any, replicas: int, at_once: int) -> None:
    spec = {"replicas": replicas} | ({"strategy": strategy} if strategy else {})
    assert planned(body(spec=spec)).workload.at_once == at_once


def test_every_problem_is_told_at_once() -> None:
    error = refused(body({"image": "BAD", "ports": [{"containerPort": 0}]}, volumes=[{"name": "v"}]))
    assert error.message.count("; ") == 2


def test_a_secret_s_value_is_in_no_message() -> None:
    error = refused(
        body({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "token", "key": "none"}}}]}),
        secret(key="hush-hush"),
    )
    assert "hush-hush" not in error.message
    broken = secret() | {"data": {"key": "hush-hush!"}}
    error = refused(body({"envFrom": [{"secretRef": {"name": "token"}}]}), broken)
    assert "data.key: not base64" in error.message
    assert "hush" not in error.message


def test_plans_are_made_again_only_when_something_they_use_changed() -> None:
    planner = Planner(SITE, Path("/"), RULES)
    wanted = resource(body({"envFrom": [{"configMapRef": {"name": "settings"}}]}))

    def plan(settings: dict[str, Any]) -> Planned:
        return planner.planned(wanted, Scope({each.key: each for each in (wanted, resource(settings))}))

    first = plan(config_map(a="1"))
    assert plan(config_map(a="1")) is first
    assert plan(config_map(a="2")) is not first


def test_the_example_everybody_starts_from_is_accepted_as_it_is() -> None:
    pods = planned(body(spec={"replicas": 3})).pods
    assert [pod.replica for pod in pods] == [0, 1, 2]
    assert pods[0].containers[0].config["Image"] == IMAGE
    assert pods[0].containers[0].config["StopTimeout"] == 30
