"""Conditions, loops, references and status at definition time: what is refused, and where."""

from typing import Any

import pytest

from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from support.blueprints import a_definition, blueprint_text, problems_of

SCHEMA = "{name: string, on: boolean | default=true, zones: '[]string', free: object, labels: 'map[string]string'}"
CONFIG = '{apiVersion: v1, kind: ConfigMap, metadata: {name: "NAME"}, data: {x: "VALUE"}}'


def entry(name: str = "a", value: str = "x", *, id: str = "a", **rest: str) -> str:  # noqa: A002
    lines = "".join(f"  {key}: {text}\n" for key, text in rest.items())
    return f"- id: {id}\n{lines}  template: {CONFIG.replace('NAME', name).replace('VALUE', value)}\n"


def reasons(resources: str, status: str = "") -> list[tuple[str, str]]:
    text = blueprint_text(resources, SCHEMA)
    if status:
        text = text.replace("  resources:", f"    status: {status}\n  resources:")
    (document,) = read_documents(text, "app.yaml")
    return [(each.path, each.message) for each in problems_of(check_blueprint, document)]


@pytest.mark.parametrize(
    ("rest", "path", "message"),
    [
        (
            {"includeWhen": "['${schema.spec.name}']"},
            "includeWhen[0]",
            "is string, and includeWhen takes true or false",
        ),
        ({"includeWhen": "['${schema.spec.free.x}']"}, "includeWhen[0]", "is dyn, and includeWhen takes"),
        ({"includeWhen": "['schema.spec.on']"}, "includeWhen[0]", "exactly one expression"),
        ({"includeWhen": "['${schema.spec.on}${schema.spec.on}']"}, "includeWhen[0]", "exactly one expression"),
        ({"includeWhen": "[true]"}, "includeWhen[0]", "exactly one expression"),
        ({"includeWhen": "'${schema.spec.on}'"}, "includeWhen", "is a list"),
        ({"includeWhen": "['${omit() == 1}']"}, "includeWhen[0]", "omit() is for values in a template"),
        ({"includeWhen": "['${a.data.x == \"\"}']"}, "", "a refers to itself"),
        ({"readyWhen": "['${schema.spec.on}']"}, "readyWhen[0]", "may only read a, and reads schema"),
        ({"readyWhen": "['${a.?status.?ok}']"}, "readyWhen[0]", "is optional_type(dyn)"),
        ({"forEach": "[{z: '${schema.spec.zones}'}]"}, "template.metadata", "metadata.name must use z"),
        (
            {"forEach": "[{z: '${schema.spec.labels}'}]"},
            "forEach[0].z",
            "is map(string, string), and forEach takes a list",
        ),
        ({"forEach": "[{z: '${schema.spec.free.l}'}]"}, "forEach[0].z", "is dyn, and forEach takes a list"),
        ({"forEach": "[{a: '${schema.spec.zones}'}]"}, "forEach[0].a", "a is already a resource"),
        ({"forEach": "[{each: '${schema.spec.zones}'}]"}, "forEach[0].each", "reserved"),
        ({"forEach": "[{Z: '${schema.spec.zones}'}]"}, "forEach[0].Z", "lower camel case"),
        ({"forEach": "[{y: '${[1]}', z: '${[1]}'}]"}, "forEach[0]", "one name"),
        ({"forEach": str([{f"z{n}": "${[1]}"} for n in range(11)])}, "forEach", "more than 10"),
    ],
)
def test_what_stands_beside_a_template_is_checked_at_its_place(rest: dict[str, str], path: str, message: str) -> None:
    found = reasons(entry(**rest))
    full = f"spec.resources[0].{path}".rstrip(".")
    assert any(place == full and message in text for place, text in found), found


def test_loops_do_not_see_each_other_and_have_one_name_each() -> None:
    crossed = entry("a-${y}-${z}", forEach="[{y: '${schema.spec.zones}'}, {z: '${[y]}'}]")
    assert any("unknown name 'y'" in text for _, text in reasons(crossed))
    twice = entry("a-${z}", forEach="[{z: '${schema.spec.zones}'}, {z: '${schema.spec.zones}'}]")
    assert any("z stands twice" in text for _, text in reasons(twice))


def test_a_loop_s_variable_has_the_type_of_the_items() -> None:
    assert reasons(entry("a-${z}", forEach="[{z: '${schema.spec.zones}'}]")) == []
    ((path, message),) = [each for each in reasons(entry("a-${n}", forEach="[{n: '${[1, 2]}'}]")) if "int" in each[1]]
    assert path == "spec.resources[0].template.metadata.name"
    assert "${n} is int" in message
    assert any("unknown field 'v'" in text for _, text in reasons(OBJECTS.replace("FIELD", "v")))
    assert reasons(OBJECTS.replace("FIELD", "metadata.name")) == []


OBJECTS = entry("a-${x.FIELD}", forEach="[{x: '${[schema].map(s, s)}'}]")


def test_the_items_of_a_collection_are_ready_by_each() -> None:
    loop = {"forEach": "[{z: '${schema.spec.zones}'}]"}
    assert reasons(entry("a-${z}", readyWhen="['${each.metadata.name != \"\"}']", **loop)) == []
    assert reasons(entry("a-${z}", readyWhen="['${a.all(x, true)}']", **loop))


REFERENCE = "- id: ext\n  externalRef: {apiVersion: v1, kind: ConfigMap, metadata: META}\n"


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{}", "metadata.name must be text"),
        ("{name: a, selector: {}}", "exclude each other"),
        ("{selector: 1}", "a selector is a map"),
        ("{name: a, labels: {}}", "unknown field 'labels'"),
        ("{name: '${omit()}'}", "cannot be left out"),
    ],
)
def test_a_reference_names_one_object_or_selects_many(meta: str, message: str) -> None:
    found = reasons(REFERENCE.replace("META", meta))
    assert any(message in text for _, text in found), found


def test_a_reference_stands_alone() -> None:
    text = REFERENCE.replace("META", "{name: x}")
    assert any("template cannot stand" in each for _, each in reasons(text + f"  template: {CONFIG}\n"))
    assert any(
        "forEach cannot stand" in each for _, each in reasons(text + "  forEach: [{z: '${schema.spec.zones}'}]\n")
    )
    (node,) = a_definition(text, SCHEMA).nodes
    assert [path for path, _ in node.observing()] == [("externalRef",)]


@pytest.mark.parametrize(
    "value",
    [
        "${string(b.status.ip)}",
        "${b.?status.?ip.orValue('')}",
        "${b['status'].ip}",
        "${[b].map(x, x.status.ip)[0]}",
        "${cel.bind(x, b, x.?status.?ip.orValue(''))}",
    ],
)
def test_what_only_a_site_knows_is_named_with_its_expression(value: str) -> None:
    definition = a_definition(entry("b", id="b") + entry(value=value, id="a"), SCHEMA)
    (((path, why),),) = [list(node.observing()) for node in definition.nodes if node.id == "a"]
    assert path == ("template", "data", "x")
    assert "reads the status of b, which only a site knows" in why
    assert value in why
    assert definition.late == {"a": why}


def test_a_field_called_status_that_an_instance_gives_needs_no_site() -> None:
    text = entry("b", id="b") + entry(value="${schema.spec.free.status + b.metadata.name}")
    assert a_definition(text, SCHEMA).late == {}


@pytest.mark.parametrize(
    ("status", "path", "message"),
    [
        ("{x: 1}", "x", "is an expression"),
        ("{x: {y: [plain]}}", "x.y[0]", "is an expression"),
        ("{x: '${1 + 1}'}", "x", "must read a resource or the schema"),
        ("{x: '${nope.y}'}", "x", "unknown name 'nope'"),
        ("{x: '${schema.spec.name + 1}'}", "x", "no matching overload"),
        ("{x: '${[a.data, omit()]}'}", "x", "omit()"),
        ("{x: '${runtime}'}", "x", "unknown name 'runtime'"),
        ("[]", "", "a map of fields"),
        ("{conditions: {x: y}}", "conditions", "is a list"),
        ("{conditions: [1]}", "conditions[0]", "exactly one expression"),
        ("{conditions: ['${\"Up\"}']}", "conditions[0]", "this is string"),
        ("{conditions: ['${a.data}']}", "", ""),
    ],
)
def test_status_is_checked_at_its_place(status: str, path: str, message: str) -> None:
    found = reasons(entry(), status)
    full = f"spec.schema.status.{path}".rstrip(".")
    assert found == [] if not message else any(place == full and message in text for place, text in found), found


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("runtime.newCondition({type: 'Up', status: 'True'})", ""),
        ("runtime.newCondition({type: 'Up', status: 'Yes'})", "status must be one of"),
        ("runtime.newCondition({type: '', status: 'True'})", "type must not be empty"),
        ("runtime.newCondition({'type': 'Up', status: 'True'})", "are the bare words"),
        ("runtime.newCondition({type: 'Up'})", "needs status"),
        ("runtime.newCondition({type: 'Up', status: 'True', status: 'False'})", "has a key twice"),
        ("runtime.newCondition({type: 1, status: 2})", "no matching overload"),
        ("runtime.newCondition({type: 'Up', status: 'True', other: 'x'})", "unknown name 'other'"),
        ("runtime.newCondition(a.data)", "written out"),
        ("{type: 'Up', status: 'True'}", "this is map(string, string)"),
        ("[{status: 'x'}].map(x, runtime.newCondition({type: 'a', status: 'True'}))", "for runtime.newCondition alone"),
        ("runtime.condition(schema, 'Ready')", ""),
        ("runtime.condition(schema, 'Up')", "schema has no condition 'Up'"),
        ("runtime.condition(a, 'Up')", ""),
        ("schema.spec.on ? runtime.newCondition({type: 'a', status: 'True'}) : runtime.condition(a, 'b')", ""),
    ],
)
def test_conditions_are_kro_s(condition: str, message: str) -> None:
    quoted = condition.replace("'", "''")
    found = reasons(entry(), f"{{conditions: ['${{{quoted}}}']}}")
    assert [message in text for _, text in found] == ([True] if message else []), found


def test_two_entries_cannot_make_one_condition() -> None:
    one = "${runtime.newCondition({type: ''Up'', status: ''True''})}"
    ((path, message),) = reasons(entry(), f"{{conditions: ['{one}', '{one}']}}")
    assert (path, message) == ("spec.schema.status.conditions[1]", "condition 'Up' is made by another entry too")


def test_readiness_and_status_are_what_sites_watch() -> None:
    text = blueprint_text(entry(), SCHEMA)
    ready = blueprint_text(entry(readyWhen="['${a.data.x == \"\"}']"), SCHEMA)
    status = text.replace("  resources:", "    status: {x: '${a.data.x}'}\n  resources:")
    for given, watched in ((text, False), (ready, True), (status, True)):
        (document,) = read_documents(given, "app.yaml")
        checked = check_blueprint(document)
        assert (checked.value.is_watched, checked.warnings) == (watched, ())


KRO: dict[str, Any] = {"apiVersion": "kro.run/v1alpha1", "kind": "ResourceGraphDefinition"}


def test_a_definition_of_kro_is_taken_as_it_is() -> None:
    text = blueprint_text(entry("${schema.spec.name}"), SCHEMA).replace("kind: Blueprint", f"kind: {KRO['kind']}")
    text = text.replace("holdfast.io/v1alpha1", KRO["apiVersion"]).replace("name: app", "name: app.kro.run\n  uid: x")
    text = text.replace("    kind: App", "    kind: App\n    additionalPrinterColumns: []\n    shortNames: [a]")
    (document,) = read_documents(f"{text}status: {{state: Active}}\n", "rgd.yaml")
    definition = check_blueprint(document).value
    assert (definition.name, definition.api_version) == ("app.kro.run", "kro.run/v1alpha1")
    (wrong,) = read_documents(text.replace("kro.run/v1alpha1", "kro.run/v1beta1"))
    assert [each.path for each in problems_of(check_blueprint, wrong)] == ["apiVersion"]
