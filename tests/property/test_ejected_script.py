"""Whatever stands in a value, the script of an ejected folder takes it as a value: run by a real sh in a root of its own."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from holdfast_hub.blueprint.eject import eject
from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.leaving.shell import word
from holdfast_hub.cli.blueprint import write
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.errors import InputError, WireError
from support.stub_machine import StubMachine

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: hostile}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Hostile
    spec: {text: string, path: string, secret: string}
  resources:
    - id: config
      template:
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: config}
        data: {key: "${schema.spec.text}"}
    - id: token
      template:
        apiVersion: v1
        kind: Secret
        metadata: {name: token}
        stringData: {key: "${schema.spec.secret}"}
    - id: file
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: file}
        spec: {path: "/srv/${schema.spec.path}/file", content: "${schema.spec.text}"}
    - id: folder
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Directory
        metadata: {name: folder}
        spec: {path: "/srv/${schema.spec.path}/folder", mode: "0700"}
    - id: pod
      template:
        apiVersion: v1
        kind: Pod
        metadata: {name: pod, labels: {app: pod}}
        spec:
          containers:
            - name: app
              image: app:1
              command: [run, "${schema.spec.text}"]
              args: ["${schema.spec.text}"]
              workingDir: "/${schema.spec.path}"
              env:
                - {name: TEXT, value: "${schema.spec.text}"}
                - {name: SECRET, valueFrom: {secretKeyRef: {name: token, key: key}}}
              volumeMounts:
                - {name: config, mountPath: "/etc/${schema.spec.path}"}
                - {name: host, mountPath: /host}
          volumes:
            - {name: config, configMap: {name: config}}
            - {name: host, hostPath: {path: "/srv/${schema.spec.path}/folder", type: Directory}}
"""
SHARP = "'\"`$\\;&|<>*?~!#%(){}[]=,:-@ \t\r\nabz/é\u2028"
text = st.text(SHARP, max_size=24).map(lambda tail: tail + "$(touch /struck)`touch /struck`'; touch /struck; '")
part = st.text(SHARP.replace("/", ""), min_size=1, max_size=12)
pytestmark = pytest.mark.root


def folder_of(values: dict[str, str], target: Path) -> None:
    (blueprint,) = read_documents(BLUEPRINT)
    definition = check_blueprint(blueprint).value
    document = {"apiVersion": "v1alpha1", "kind": "Hostile", "metadata": {"name": "one"}, "spec": values}
    (instance,) = read_documents(json.dumps(document))
    made = eject(definition, check_instance(definition, instance).value)
    assert made.encoded == ()
    write(target, {path: content.encode() for path, content in made.files.items()}, made.modes)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> StubMachine:
    return StubMachine.made(tmp_path_factory.mktemp("machine") / "root")


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text, part, text)
@example("--privileged", "-rf", "x\n\n")
@example("a'b\"c\n$HOME `id`", "a b$(id)'\"`&;|*?\\", "\n=\n")
@example("#", "{a,b}[!]~", "$(cat /etc/passwd)")
def test_hostile_values_are_inert_in_the_script(ground: StubMachine, said: str, where: str, secret: str) -> None:
    secret = f"sesame{secret}"
    with tempfile.TemporaryDirectory() as parent:
        machine = ground.copy(Path(parent) / "root")
        try:
            folder_of({"text": said, "path": where, "secret": secret}, machine.root / "plan")
        except InputError:
            return  # refused where it was written: a path with a line break, say
        before = machine.files()
        done = machine.run("/bin/sh", "/plan/one/install.sh")
        assert done.returncode == 0, done.stderr
        assert (machine.root / "srv" / where / "file").read_bytes().decode() == said
        assert (machine.root / "srv" / where / "folder").stat().st_mode & 0o777 == 0o700
        (words,) = [call[1:] for call in machine.calls("docker") if call[0] == "create"]
        assert f"TEXT={said}" in words
        assert "SECRET" in words
        assert words[-4:] == ["--", "app:1", said, said]
        assert words[words.index("--entrypoint") + 1] == "run"
        assert not any("sesame" in each for each in words), "other people see the words of a program"
        assert (machine.root / "environment").read_bytes().decode() == f"{secret}\0"
        again = machine.run("/bin/sh", "/plan/one/install.sh", "--uninstall")
        assert again.returncode == 0, again.stderr
        assert machine.files() == before, "nothing was struck, and nothing is left"


@given(st.text())
def test_a_word_is_one_word(said: str) -> None:
    if "\0" in said:
        with pytest.raises(WireError):
            word(said)
        return
    made = word(said)
    assert made.replace("'\\''", "").count("'") == 2
    assert made[1:-1].replace("'\\''", "'") == said
