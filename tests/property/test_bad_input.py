"""Hostile input: whatever is written, the answer is a definition and resources, or problems with their places."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.render import Rendered, render
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.errors import InputError, Problem, WireError
from holdfast_protocol.kinds import firewall, kernel_module, sysctl
from holdfast_protocol.kinds.unit_text import read_unit
from support.blueprints import a_definition, an_instance

HOSTILE = [
    "a\nExecStart=/bin/evil",
    "a\r\nUser=root",
    "x\\",
    "[Service]",
    "%n",
    "a; rm -rf /",
    "$(reboot)",
    "`id`",
    "'; drop table x; --",
    "} ; flush ruleset ; table inet x {",
    'x" accept comment "',
    "# comment",
    "../../etc/shadow",
    "/../x",
    "\x00",
    "\x1b[2J",
    "\u2028ExecStart=/x",
    "\x85y",
    "\ud7ff\ue000",
    "é\u0301",
    "\u202eltr",
    "a" * 40_000,
    "${schema.spec.text}",
    "$${x}",
    "{{ x }}",
    "!!python/object:os.system",
    "*alias",
    "&anchor",
    "- a\n- b",
    "yes",
    "0644",
    "~",
    "",
    " ",
    "-",
    ".",
]
WORDS = st.sampled_from(HOSTILE) | st.text(max_size=20)
FRAGMENTS = st.sampled_from(
    [
        *("string", "integer", "[]string", "map[string]string", "Custom", "[][][]", "map[", "|", "string | ", "object"),
        *(
            'string | pattern="(?=a)"',
            'string | pattern="(a+)+$"',
            'string | pattern="\\\\1"',
            "string | default=[",
            "Node",
        ),
        *(
            "string | enum=a,a",
            "integer | minimum=9999999999999999999999",
            "string | required=maybe",
            "[]Node",
            "nested",
        ),
        *(
            "string | validation=self.all(x, true)",
            'string | validation="1"',
            "integer | default=0x10",
            "float | default=NaN",
        ),
    ]
)
EXPRESSIONS = st.sampled_from(
    [
        *(
            "schema.spec.text",
            "schema.spec.text + ",
            "schema",
            "self",
            "each",
            "a.b.c",
            "omit()",
            "1/0",
            "'",
            '"',
            "{",
            "}",
        ),
        *(
            "lists.range(100000)",
            "lists.range(99).map(a, lists.range(99).map(b, lists.range(99)))",
            "((((((((((1))))))))))",
        ),
        *(
            "'a'.matches('(?=a)')",
            "string(schema)",
            "json.marshal(schema)",
            "x.map(y, y)",
            "optional.none()",
            "[?optional.of(1)]",
        ),
        *(
            "schema.spec.text.replace('', schema.spec.text)",
            "config.data",
            "config",
            "size(config)",
            "dyn(1) + 'a'",
            "\u2028",
        ),
        "-" * 200 + "1",
        "!" * 5000 + "true",
        "[" * 300 + "]" * 300,
        "a." * 4000 + "b",
        "'x' + " * 40 + "'x'",
    ]
)
VALUES = st.one_of(WORDS, EXPRESSIONS.map(lambda each: f"${{{each}}}"), st.integers(), st.none(), st.booleans())
TREES = st.recursive(
    VALUES, lambda inside: st.lists(inside, max_size=2) | st.dictionaries(WORDS, inside, max_size=2), max_leaves=5
)


def places(problems: tuple[Problem, ...]) -> None:
    """Every problem says where: its file, and a line of it."""
    assert problems
    assert len(problems) <= 202, "bounded, however much is wrong"
    for problem in problems:
        assert problem.file in ("app.yaml", "one.yaml"), problem
        assert problem.line >= 1 or problem.message.endswith("more problems"), problem
        assert len(problem.message) < 2_000, problem


def tried(document: dict[str, Any], spec: dict[str, Any]) -> list[Rendered]:
    """Go the whole way from texts to resources; [] where it was refused, with places."""
    try:
        (written,) = read_documents(_yaml(document), "app.yaml")
        definition = check_blueprint(written).value
        instance = {"apiVersion": "v1alpha1", "kind": definition.kind, "metadata": {"name": "one"}, "spec": spec}
        (given_,) = read_documents(_yaml(instance), "one.yaml")
        return render(definition, check_instance(definition, given_).value)
    except InputError as error:
        places(error.problems)
        return []


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=10**9)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Blueprints that are nearly right."""

    def or_tree(value: Any) -> Any:
        return draw(TREES) if draw(st.integers(0, 9)) == 0 else value

    def resource(name: str) -> dict[str, Any]:
        body = {
            "apiVersion": or_tree("v1"),
            "kind": or_tree(
                draw(st.sampled_from(["ConfigMap", "File", "SystemdService", "Firewall", "Sysctl", "Thing"]))
            ),
            "metadata": {"name": or_tree(draw(VALUES | st.just(name)))},
            "spec": or_tree({"path": draw(VALUES), "unit": draw(VALUES)}),
            "data": draw(TREES),
        }
        entry = {"id": or_tree(name), "template": or_tree(body)}
        for key in ("includeWhen", "readyWhen", "forEach"):
            if draw(st.integers(0, 4)) == 0:
                entry[key] = draw(TREES | st.lists(VALUES, max_size=2))
        return entry

    schema = {
        "apiVersion": or_tree("v1alpha1"),
        "kind": or_tree("App"),
        "spec": or_tree({"text": "string", "more": draw(FRAGMENTS | TREES)}),
        "types": or_tree(
            {"Node": draw(st.sampled_from([{"next": "Node"}, {"next": "[]Other"}, "string", {"a": "string"}]))}
        ),
    }
    resources = [resource(name) for name in ("config", "other")[: draw(st.integers(0, 2))]]
    spec = {"schema": or_tree(schema), "resources": or_tree(resources)}
    return {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "Blueprint",
        "metadata": or_tree({"name": "app"}),
        "spec": or_tree(spec),
    }


@settings(max_examples=250, deadline=None)
@given(definitions(), st.dictionaries(st.sampled_from(["text", "more", "name", "placement", "x"]), TREES, max_size=3))
def test_any_definition_and_instance_are_taken_or_refused_with_places(
    document: dict[str, Any], spec: dict[str, Any]
) -> None:
    for resource in tried(document, spec):
        assert resource.body["metadata"]["name"]


UNIT = """
- id: a
  template:
    apiVersion: v1
    kind: SystemdService
    metadata: {name: a}
    spec:
      unit: |
        [Unit]
        Description=${schema.spec.text}
        [Service]
        ExecStart=/bin/run ${schema.spec.text} end
        Environment="A=${schema.spec.text}"
"""


@settings(max_examples=200, deadline=None)
@given(WORDS)
@example("a\nExecStart=/bin/evil")
@example("x \\")
def test_no_value_adds_a_setting_to_a_unit(text: str) -> None:
    for each in _rendered(UNIT, text):
        unit = read_unit(each.body["spec"]["unit"], "spec.unit")
        assert [(one.section, one.key) for one in unit.settings] == [
            ("Unit", "Description"),
            ("Service", "ExecStart"),
            ("Service", "Environment"),
        ]
        assert unit.values("Service", "ExecStart") == (f"/bin/run {text} end",)


def _rendered(resources: str, text: str) -> list[Rendered]:
    definition = a_definition(resources, "text: string")
    try:
        instance = an_instance(definition, json.dumps({"text": text}))
        return render(definition, instance)
    except InputError as error:
        places(error.problems)
        return []


RULE_FIELDS = ["interface", "from", "to", "ports", "protocol", "action", "direction"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(RULE_FIELDS), WORDS)
def test_no_value_of_a_rule_leaves_its_line_or_its_table(field: str, text: str) -> None:
    value: Any = [text] if field in ("from", "to", "ports") else text
    rule = {"protocol": "tcp", "ports": [80], field: value}
    try:
        made = firewall.render({"rules": [rule]}, "x", None)
    except WireError as error:
        assert error.message.startswith("spec") or "spec" in error.message
        return
    lines = made.split("\n")
    assert [line for line in lines if line.startswith(("table", "delete"))] == [
        "table inet holdfast_x",
        "delete table inet holdfast_x",
        "table inet holdfast_x {",
    ]
    plain = firewall.render({"rules": [{"protocol": "tcp", "ports": [80]}]}, "x", None)
    assert (made.count("{") - made.count("}"), len(lines)) == (0, len(plain.split("\n")))


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_no_setting_becomes_two_and_no_parameter_another_line(key: str, value: str) -> None:
    for words in ({key: value}, {"net.ipv4.ip_forward": value}, {key: "1"}):
        try:
            assert sysctl.render(sysctl.settings({"settings": words})).count("\n") == 1
        except WireError as error:
            assert "spec" in error.message
        try:
            made = kernel_module.render_options(kernel_module.wanted({"parameters": words}, "camera"))
            assert (made.count("\n"), made.count(" ")) == (1, 2)
        except WireError as error:
            assert "spec" in error.message


@pytest.mark.parametrize("where", ["name", "namespace"])
@pytest.mark.parametrize(
    "text", [each for each in HOSTILE if each not in ("yes", "0644", "")], ids=range(len(HOSTILE) - 3)
)
def test_no_hostile_name_reaches_a_target(where: str, text: str) -> None:
    metadata = {"name": "a", where: "${schema.spec.text}"}
    made = f"- id: a\n  template: {{apiVersion: v1, kind: Thing, metadata: {metadata!r}}}\n"
    assert _rendered(made.replace("'", '"'), text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "anchor"),
        ("a: !!python/object:os.system x\n", "tag"),
        ("a: !<tag:yaml.org,2002:int> '1'\n", "tag"),
        ("<<: {a: 1}\n", "merge keys"),
        ("a: 1\na: 2\n", "duplicate key"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "nested deeper"),
        ("a: " + "{b: " * 4000 + "1" + "}" * 4000 + "\n", "nested deeper"),
        ('a: "' + "x" * 1_000_000 + '"\n', "the limit is"),
        ("a: |\n" + "  y\n" * 300_000, "the limit is"),
        ("? " + "k" * 2_000 + "\n: 1\n", "a key of"),
        ("a: [" + "1," * 100_001 + "]\n", "more than 100000 values"),
        ("".join(f"k{n}: 0{n % 8}7\n" for n in range(5_000)), "octal"),
        ("a: 1e999\n", "64 bits"),
        ("a: " + "9" * 5_000 + "\n", "64 bits"),
        ("a: .nan\n", "JSON"),
        ("%YAML 1.1\n---\na: yes\n%TAG ! tag:x,2000:\n", ""),
        ("a: 'unclosed\n", ""),
        ("a: \x07\n", ""),
        ("? [a]\n: b\n", "cannot be a key"),
    ],
    ids=lambda each: each[:20].replace("\n", " ") if isinstance(each, str) else None,
)
def test_hostile_yaml_is_refused_with_its_line_and_not_expanded(text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        read_documents("apiVersion: v1\nkind: A\n" + text, "app.yaml")
    places(refused.value.problems)
    assert any(says in each.message for each in refused.value.problems)


@pytest.mark.parametrize(
    "schema",
    [
        "text: 'string | pattern=\"(?=a)\"'",
        "text: 'string | pattern=\"(?<!a)b\"'",
        "text: 'string | pattern=\"(a)\\\\1\"'",
        "text: 'string | pattern=\"" + "(a{1000}){1000}" + "\"'",
        "text: '" + "[]" * 2_000 + "string'",
        "text: '" + "map[string]" * 2_000 + "string'",
        "text: 'string | " + "description=x " * 5_000 + "'",
        "text: 'string | validation=\"" + "(" * 2_000 + "true" + ")" * 2_000 + "\"'",
        "text: {" + "a: {" * 40 + "b: string" + "}" * 40 + "}",
    ],
    ids=range(9),
)
def test_a_hostile_schema_is_refused_in_the_blueprint(schema: str) -> None:
    with pytest.raises(InputError) as refused:
        a_definition("[]", schema)
    places(refused.value.problems)


def test_a_pattern_that_takes_others_for_ever_takes_re2_no_time() -> None:
    definition = a_definition("[]", "text: 'string | pattern=\"^(a+)+$\"'")
    with pytest.raises(InputError) as refused:
        an_instance(definition, _yaml({"text": "a" * 30_000 + "!"}))
    places(refused.value.problems)
