"""The published schemas: whole, true of what the readers take, and described from the code."""

import json
from typing import Any

import msgspec
import pytest

from holdfast_hub.blueprint import placed, written
from holdfast_hub.blueprint.json_schema import from_openapi, instance_schema
from holdfast_hub.blueprint.written import DOCUMENTS
from holdfast_hub.operations.schemas import WORDS, own_schema
from holdfast_protocol.blueprint.node import KEYS
from holdfast_protocol.errors import InputError
from holdfast_protocol.kinds.table import KINDS, check
from support.blueprints import a_definition, an_instance, blueprint_text
from support.json_schema import errors

NAMES = [*DOCUMENTS, *KINDS]


def parts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in parts(each))]
    return [found for each in value for found in parts(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_leads_somewhere_and_nothing_is_there_for_nothing(name: str) -> None:
    schema = own_schema(name)
    used = {each["$ref"].removeprefix("#/$defs/") for each in parts(schema) if "$ref" in each}
    assert used == set(schema.get("$defs", {}))
    assert schema["$schema"].endswith("2020-12/schema")
    assert errors(schema, {}) != []


def test_a_field_is_described_by_the_comment_at_its_line() -> None:
    rule = own_schema("Firewall")["$defs"]["Rule"]
    assert rule["properties"]["ports"]["description"] == 'where to: 443 or "8000-8010"'
    assert rule["description"] == "What is left out is not asked of a packet."
    assert rule["properties"]["action"] == {"enum": ["accept", "drop", "reject"], "default": "accept"}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("File", {"path": "/a", "content": "x", "owner": 5}),
        ("File", {"path": "/a", "contentFrom": {"configMap": "a", "key": "b"}}),
        ("Sysctl", {"settings": {"net.ipv4.ip_forward": 1}}),
        ("Firewall", {"rules": [{"ports": [80, "81-90"], "protocol": "tcp", "from": ["10.0.0.0/8"]}]}),
        ("SystemdService", {"unit": "[Service]\nExecStart=/a\n", "dropIns": {"a": "[Service]\nNice=1\n"}}),
        ("Pod", {"containers": [{"name": "a", "image": "a", "readinessProbe": {"exec": {"command": ["a"]}}}]}),
        ("File", {"path": 1, "content": "x"}),
        ("File", {"path": "/a", "content": "x", "colour": 1}),
        ("Firewall", {"rules": [{"action": "allow"}]}),
        ("Pod", {"containers": [{"image": "a"}]}),
        ("Pod", {"containers": [{"name": "a", "image": "a", "ports": [{"containerPort": "80"}]}]}),
    ],
)
def test_a_schema_and_the_checks_agree_on_shape(kind: str, spec: Any) -> None:
    body = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    assert bool(errors(own_schema(kind), body)) == bool(check(body))


def test_in_a_blueprint_s_templates_an_expression_stands_for_any_value() -> None:
    schema = own_schema("Blueprint")

    def judged(template: Any) -> list[str]:
        resource = {"id": "a", "template": {"apiVersion": "v1", "metadata": {"name": "a"}, **template}}
        spec = {"schema": {"apiVersion": "v1", "kind": "A"}, "resources": [resource]}
        document = {"apiVersion": "holdfast.io/v1alpha1", "kind": "Blueprint", "metadata": {"name": "a"}, "spec": spec}
        return errors(schema, document)

    container = {"name": "a", "image": "${schema.spec.image}", "ports": [{"containerPort": "${schema.spec.port}"}]}
    deployment = {"replicas": "${schema.spec.n}", "template": {"spec": {"containers": [container]}}}
    assert judged({"kind": "Deployment", "spec": deployment}) == []
    assert judged({"kind": "Deployment", "spec": {**deployment, "replicas": "three"}}) != []
    assert judged({"kind": "Deployment", "spec": {**deployment, "replica": 3}}) != []
    assert judged({"kind": "Deployment", "spec": "${schema.spec.all}"}) == []
    assert judged({"kind": "PubSubTopic", "anything": 1}) == []


def fields(shape: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)}


def test_the_shape_of_a_blueprint_is_what_its_reader_knows() -> None:
    assert fields(written.Resource) == set(KEYS)
    for place, shape in (("spec", written.Blueprint), ("schema", written.Schema)):
        unknown = "  colour: 1\n" if place == "spec" else "    colour: 1\n"
        text = blueprint_text("[]").replace(f"{place}:\n", f"{place}:\n{unknown}", 1)
        with pytest.raises(InputError) as refused:
            a_definition_of(text)
        (problem,) = [each for each in refused.value.problems if "colour" in each.message]
        assert set(problem.hint.removeprefix("known: ").split(", ")) == fields(shape)


def test_placed_objects_have_schemas_of_what_their_readers_know() -> None:
    assert DOCUMENTS.keys() - {"Blueprint"} == placed.KINDS.keys()
    for name, kind in placed.KINDS.items():
        hints = [each.hint for each in kind.flaws({"colour": 1}) if each.path == ("colour",)]
        for hint in hints:
            assert set(hint.removeprefix("known: ").split(", ")) - {"placement"} == fields(DOCUMENTS[name]) - {
                "placement"
            }


def a_definition_of(text: str) -> object:
    from holdfast_protocol.blueprint.definition import check_blueprint
    from holdfast_protocol.blueprint.documents import read_documents

    (document,) = read_documents(text)
    return check_blueprint(document)


def test_an_instance_s_schema_says_what_the_blueprint_s_says() -> None:
    schema = 'n: "integer | required=true minimum=1"\nlabels: "map[string]string"\nfree: object\n'
    schema += 'tags: "[]string | uniqueItems=true"'
    definition = a_definition("[]", schema)
    made = instance_schema(definition, written.Placement, WORDS)
    good: dict[str, Any] = {"apiVersion": "v1alpha1", "kind": "App", "metadata": {"name": "one"}}
    for spec, right in (
        ({"n": 1, "labels": {"a": "b"}, "free": {"x": [1]}, "tags": ["a"], "placement": {"labelSelector": {}}}, True),
        ({"labels": {}}, False),
        ({"n": 0}, False),
        ({"n": 1, "labels": {"a": 1}}, False),
        ({"n": 1, "tags": ["a", "a"]}, False),
        ({"n": 1, "more": 1}, False),
        ({"n": 1, "placement": {"labelSelctor": {}}}, False),
    ):
        assert (not errors(made, {**good, "spec": spec})) == right, spec
        fits = True
        try:
            an_instance(definition, json.dumps(spec))
        except InputError:
            fits = False
        assert fits == right, spec


def test_rules_become_words_and_marks_of_kubernetes_go() -> None:
    text = {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "message": "m"}]}
    openapi = {"type": "object", "properties": {"a": text}}
    assert from_openapi(openapi)["properties"]["a"] == {"type": "string", "description": "must hold: self != ''"}
