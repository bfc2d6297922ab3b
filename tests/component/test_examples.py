"""Every example of docs/examples is applied with the real command to a real hub, renders, and fits its published schema."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import mosquitto
from support.fleet import Hub, ended
from support.json_schema import errors

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = sorted(path for path in (DOCS / "examples").iterdir() if path.is_dir())
FILES = sorted(path for folder in EXAMPLES for path in folder.glob("*.yaml"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        labels = ("tier=edge", "role=gateway", "size=small", "stage=production", "zone=west-europe")
        said = [word for label in labels for word in ("--label", label)]
        added = program.call("site", "add", "press-01", "--zone", "hall-3", *said)
        assert added.status == 0, added.err
        yield program


@pytest.fixture(scope="module")
def applied(hub: Hub) -> Hub:
    """The hub, with all examples at once: they are about different things, and get along."""
    answer = hub.call("apply", *(word for folder in EXAMPLES for word in ("-f", folder)))
    assert answer.status == 0, answer.err
    assert "warning" not in answer.err
    return hub


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_an_example_renders(applied: Hub, folder: Path) -> None:
    rendered = applied.call("render", "-f", folder, "-o", "json")
    assert rendered.status == 0, rendered.err
    instances = [each for path in folder.glob("*.yaml") for each in documents(path) if each["apiVersion"] == "v1alpha1"]
    assert {each["instance"] for each in rendered.json["resources"]} >= {
        f"{each['kind']}/{each['metadata']['name']}" for each in instances
    }


def test_every_example_went_to_the_site_it_says(applied: Hub) -> None:
    target = json.dumps(applied.call("render", "--site", "press-01", "-o", "json").json)
    for name in ("Deployment/shop", "SystemdService/meter", "Firewall/gateway", "File/collector", "File/zone-press"):
        assert name in target


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_fits_the_schema_an_editor_uses(applied: Hub, path: Path) -> None:
    for document in documents(path):
        published = DOCS / "schemas" / f"{document['kind']}.json"
        schema = applied.call("schema", document["kind"]).json
        assert not published.exists() or schema == json.loads(published.read_text())
        assert errors(schema, document) == []
        assert errors(schema, {**document, "spec": {**document["spec"], "colour": "red"}}) != []


def test_the_schema_a_file_names_is_there() -> None:
    for path in FILES:
        for name in re.findall(r"\$schema=(\S+)", path.read_text()):
            assert (path.parent / name).resolve().exists(), f"{path}: {name}"


def test_a_stored_blueprint_explains_its_instances(applied: Hub) -> None:
    told = applied.call("explain", "Web.spec")
    assert told.status == 0, told.err
    assert "image <string> (required)" in told.out
    assert "replicas <integer> (default 1; minimum 0; maximum 10)" in told.out
    assert "placement <map>" in told.out
    near = applied.call("explain", "web.spec.imag", "-o", "json")
    assert (near.status, json.loads(near.err)["error"]["hint"]) == (3, "did you mean image?")
    assert applied.call("explain", "wbe").err.count("Web") == 1


def test_a_stored_blueprint_gives_its_schema_for_editors_and_as_openapi(applied: Hub) -> None:
    schema = applied.call("schema", "blueprint", "web").json
    good = {"apiVersion": "v1alpha1", "kind": "Web", "metadata": {"name": "a"}, "spec": {"image": "x"}}
    assert errors(schema, good) == []
    assert errors(schema, {**good, "spec": {"image": "x", "replicas": 11}}) == ["$.spec.replicas: maximum"]
    openapi = applied.call("schema", "blueprint", "web", "--openapi").json
    assert openapi["properties"]["replicas"] == {"type": "integer", "default": 1, "minimum": 0, "maximum": 10}
    assert applied.call("schema", "blueprint", "nothing").status == 3
