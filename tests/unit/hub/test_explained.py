"""explain: a field, what is inside, and near names for a wrong step."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast_hub.blueprint.explained import explained
from holdfast_hub.cli.main import main
from holdfast_hub.operations.schemas import own_schema
from holdfast_protocol.errors import NotFoundError
from holdfast_protocol.kinds.table import KINDS


def test_a_field_says_its_type_its_default_its_choices_and_what_it_means() -> None:
    rules = explained(own_schema("Firewall"), ("spec", "rules"))
    assert (rules.path, rules.type, rules.required) == ("spec.rules", "[]map", False)
    inside = {each.path: each for each in rules.fields}
    assert inside["action"].choices == ("accept", "drop", "reject")
    assert (inside["action"].default, inside["ports"].type) == ("accept", "[]integer or string")
    assert inside["ports"].description.startswith("where to")


def test_a_path_goes_through_lists_and_through_maps_of_free_keys() -> None:
    pod = own_schema("Deployment")
    assert explained(pod, ("spec", "template", "spec", "containers", "livenessProbe", "periodSeconds")).default == 10
    assert explained(pod, ("metadata", "labels", "any.key/at-all")).type == "string"
    assert explained(pod, ("spec", "template")).required


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("spec", "tmplate"), "did you mean template"),
        (("spec", "template", "spec", "containers", "imagee"), "did you mean image"),
        (("status",), "known: apiVersion, kind, metadata, spec"),
    ],
)
def test_a_wrong_step_is_answered_with_near_names(path: tuple[str, ...], hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        explained(own_schema("Deployment"), path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_explained_whole(kind: str) -> None:
    found = explained(own_schema(kind), (), recursive=True)
    assert {"apiVersion", "kind", "metadata"} <= {each.path for each in found.fields}


def test_a_blueprint_is_explained_with_no_hub(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--socket", str(tmp_path / "none"), "explain", "blueprint.spec.resources", "-o", "json"])
    assert ended.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["path"], answer["type"]) == ("Blueprint", "spec.resources", "[]map")
    assert {each["path"] for each in answer["fields"]} >= {"id", "template", "forEach", "readyWhen"}


def test_an_unknown_kind_with_no_hub_says_both(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--socket", str(tmp_path / "none"), "explain", "firewal"])
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "no hub answers" in said
    assert "did you mean Firewall?" in said


def test_the_schema_command_prints_what_is_published(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--socket", str(tmp_path / "none"), "schema", "sysctl"])
    assert json.loads(capsys.readouterr().out) == own_schema("Sysctl")


def test_without_sources_there_are_no_descriptions_and_nothing_else_is_missing() -> None:
    code = "import inspect\ndef none(*_): raise OSError\ninspect.getsource = none\n"
    code += "from holdfast_hub.operations.schemas import own_schema\nprint(len(own_schema('Firewall')['$defs']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(len(own_schema("Firewall")["$defs"]))
