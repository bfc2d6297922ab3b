import pytest
import yaml

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.blueprint.eject import eject
from holdfast_protocol.blueprint.documents import read_documents
from support.blueprints import a_definition, an_instance, problems_of


def unit(resource_id: str, description: str, extra: str = "") -> str:
    return f"""
- id: {resource_id}
  template:
    apiVersion: holdfast.io/v1alpha1
    kind: SystemdService
    metadata: {{name: {resource_id.lower()}}}
    spec:
      unit: |
        [Unit]
        {description}
        [Service]
        ExecStart=/bin/true
        [Install]
        WantedBy=multi-user.target
{extra}
"""


def file(resource_id: str, spec: str) -> str:
    return f"""
- id: {resource_id}
  template:
    apiVersion: holdfast.io/v1alpha1
    kind: File
    metadata: {{name: {resource_id.lower()}}}
    spec: {spec}
"""


def ejected(resources: str) -> dict[str, str]:
    definition = a_definition(resources)
    return eject(definition, an_instance(definition)).files


def test_units_are_named_by_what_they_say_they_are_and_by_id_where_two_say_the_same() -> None:
    files = ejected(
        unit("one", "Description=Caméra  Driver (front)")
        + unit("two", "Description=Pump")
        + unit("three", "Description = pump")
        + unit("four", "After=x")
    )
    assert [name for name in files if name.endswith(".unit")] == [
        "one/camera-driver-front.unit",
        "one/four.unit",
        "one/pump-three.unit",
        "one/pump-two.unit",
    ]
    assert "systemctl enable --now two.service" in files["one/pump-two.unit"].splitlines()[0]


def test_a_units_drop_ins_come_along() -> None:
    files = ejected(unit("one", "Description=Pump", '      dropIns: {limits: "[Service]\\nMemoryMax=1G\\n"}'))
    assert files["one/pump.unit.d/limits.conf"].endswith("[Service]\nMemoryMax=1G\n")


def test_files_keep_their_content_and_a_list_says_mode_and_owner() -> None:
    definition = a_definition(
        file("motd", "{path: /etc/motd, content: 'hello', mode: '0644', owner: root}")
        + file("blob", "{path: /var/lib/blob, contentBase64: //79}")
        + file("key", "{path: /etc/key, contentFrom: {secret: s, key: k}}")
        + file("lost", "{path: /etc/lost, contentFrom: {secret: elsewhere, key: k}}")
        + "- id: secret\n  template: {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: sesame}}\n"
    )
    folder = eject(definition, an_instance(definition))
    files = folder.files
    assert files["one/files/etc/motd"] == "hello"
    assert folder.files["one/files/var/lib/blob"] == "//79"
    assert folder.encoded == ("one/files/var/lib/blob",), "what is no text is written as what it is"
    assert yaml.safe_load(files["one/file-modes.yaml"])["files"] == [
        {"path": "/etc/motd", "mode": "0644", "owner": "root", "file": "files/etc/motd"},
        {"path": "/var/lib/blob", "file": "files/var/lib/blob"},
        {"path": "/etc/key", "mode": "0600", "file": "files/etc/key"},
    ]
    assert folder.private == ("one/files/etc/key", "one/secret.yaml")
    assert files["one/files/etc/key"] == "sesame"
    assert "File/lost: its content comes from Secret elsewhere" in files["one/README.md"]
    assert "lost" not in files["one/install.sh"]


@pytest.mark.parametrize("path", ["etc/motd", "/etc/../shadow", "/a//b", "/a/", '"/a\\nb"', "/", '""'])
def test_a_path_that_could_leave_the_folder_is_refused(path: str) -> None:
    definition = a_definition(file("motd", f"{{path: {path}, content: x}}"))
    (problem,) = problems_of(eject, definition, an_instance(definition))
    assert "path" in problem.message


def test_two_resources_never_share_a_file() -> None:
    definition = a_definition(file("a", "{path: /x, content: x}") + file("b", "{path: /x/y, content: y}"))
    (problem,) = problems_of(eject, definition, an_instance(definition))
    assert "collides" in problem.message


def test_the_collector_follows_what_the_instance_has() -> None:
    pod = "- id: pod\n  template: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: a}]}}\n"
    for resources, receivers in (
        ("[]", {"otlp", "hostmetrics"}),
        (pod, {"otlp", "hostmetrics", "docker_stats"}),
        (unit("one", "Description=x"), {"otlp", "hostmetrics", "journald"}),
    ):
        config = yaml.safe_load(ejected(resources)["one/otel-config.yaml"])
        assert set(config["receivers"]) == receivers
        for pipeline in config["service"]["pipelines"].values():
            assert set(pipeline["receivers"]) <= receivers
            assert pipeline["processors"] == ["memory_limiter", "resource", "batch"]
            assert set(pipeline["processors"]) == set(config["processors"])
            assert set(pipeline["exporters"]) == set(config["exporters"])
        assert config["exporters"]["otlp"]["endpoint"] == "${env:OTEL_EXPORTER_OTLP_ENDPOINT}"


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "0644",
        "0o644",
        "1e3",
        "1_000",
        "12:30",
        "~",
        "",
        " x ",
        "a\n b\n",
        "tab\t",
        "# x",
        "- x",
        "é\u2028",
        "1.0",
        "=",
        "<<",
    ],
)
def test_a_text_is_read_back_the_same_by_old_and_new_readers(text: str) -> None:
    written = yaml_writer.write({"apiVersion": "v1", "kind": "A", "x": text})
    assert yaml.safe_load(written)["x"] == text
    assert read_documents(written)[0].value["x"] == text


def system(resource_id: str, kind: str, spec: str, name: str = "") -> str:
    return f"""
- id: {resource_id}
  template:
    apiVersion: holdfast.io/v1alpha1
    kind: {kind}
    metadata: {{name: {name or resource_id.lower()}}}
    spec: {spec}
"""


def test_the_machine_s_own_kinds_come_in_the_machine_s_own_form() -> None:
    files = ejected(
        system("router", "Sysctl", "{settings: {net.ipv4.ip_forward: 1}}")
        + system("camera", "KernelModule", "{name: uvc-video, parameters: {quirks: 128}}")
        + system("edge", "Firewall", "{policy: {input: drop}, rules: [{protocol: tcp, ports: [443]}]}")
    )
    assert files["one/sysctl.d/90-router.conf"].splitlines()[1:] == ["net.ipv4.ip_forward = 1"]
    assert files["one/modules-load.d/camera.conf"].splitlines()[1:] == ["uvc_video"]
    assert files["one/modprobe.d/camera.conf"].splitlines()[1:] == ["options uvc_video quirks=128"]
    assert "table inet holdfast_edge {" in files["one/edge.nft"]
    assert "tcp dport 443 accept" in files["one/edge.nft"]
    assert "the way to the hub" not in files["one/edge.nft"]


def test_what_the_machine_s_own_form_cannot_say_is_refused_with_its_place() -> None:
    problems = problems_of(lambda: ejected(system("router", "Sysctl", "{settings: {../../etc/x: 1}}")))
    assert "is no key of the kernel" in problems[0].message
