"""Generated blueprints: what is refused is refused as a problem, and what is accepted is gone through without surprises."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_hub.blueprint.render import render
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.evaluation import Body, evaluate
from holdfast_protocol.blueprint.node import Node
from holdfast_protocol.errors import InputError
from support.blueprints import a_definition, an_instance

SCHEMA = "{on: boolean | default=true, zones: '[]string', opt: string}"
IDS = ["a", "b", "c", "d"]

PLAIN = [
    "schema.metadata.name",
    "string(schema.spec.on)",
    "schema.spec.opt",
    "schema.spec.?opt.orValue('x')",
    "schema.spec.on ? omit() : 'x'",
]


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, object]]:
    """Nodes that read only those before them, each as what it is; now and then one that cannot stand."""
    found: list[dict[str, object]] = []
    singles: list[str] = []
    lists: list[str] = []
    for name in IDS[: draw(st.integers(0, len(IDS)))]:
        readable = [f"{each}.metadata.name" for each in singles] + [f"string(size({each}))" for each in lists]
        readable += [f"string({each}.status.n)" for each in singles]
        readable += [f"{each}.map(i, i.metadata.name).join()" for each in lists]
        node: dict[str, object] = {
            "values": draw(st.lists(st.sampled_from([*PLAIN, *readable, *readable]), max_size=2))
        }
        if draw(st.booleans()):
            told = [f"{each}.status.ok == true" for each in singles] + [f"size({each}) > 0" for each in lists]
            node["include"] = draw(st.sampled_from(["schema.spec.on", "!schema.spec.on", *told]))
        if draw(st.booleans()):
            node["loop"] = draw(st.sampled_from(["schema.spec.zones", "['x', 'y']", "['x', 'x']", *lists, name]))
        node["ready"] = draw(st.booleans())
        found.append(node)
        (lists if "loop" in node else singles).append(name)
    return found


def written(graph: list[dict[str, object]]) -> str:
    lines = []
    for name, node in zip(IDS, graph, strict=False):
        loop = node.get("loop")
        lines.append(f"- id: {name}")
        if "include" in node:
            lines.append(f'  includeWhen: ["${{{node["include"]}}}"]')
        if loop is not None:
            lines.append(f'  forEach: [{{z: "${{{loop}}}"}}]')
        if node.get("ready"):
            lines.append(f'  readyWhen: ["${{{"each" if loop is not None else name}.status.ok == true}}"]')
        values = node["values"]
        assert isinstance(values, list)
        data = ", ".join(f'k{number}: "${{{source}}}"' for number, source in enumerate(values))
        called = f"{name}-${{json.marshal(z).lowerAscii().find('[a-z]+')}}" if loop is not None else name
        lines.append(
            f'  template: {{apiVersion: v1, kind: ConfigMap, metadata: {{name: "{called}"}}, data: {{{data}}}}}'
        )
    return "\n".join(lines) or "[]"


def defined(graph: list[dict[str, object]]) -> Definition | None:
    try:
        return a_definition(written(graph), SCHEMA)
    except InputError:
        return None


@settings(max_examples=150, deadline=None)
@given(
    graphs(),
    st.sampled_from(["{}", "{zones: [u, v]}", "{zones: [u], on: false, opt: y}"]),
    st.booleans(),
)
def test_a_graph_is_gone_through_in_order_and_nothing_is_made_too_early(
    graph: list[dict[str, object]], spec: str, ok: bool
) -> None:
    definition = defined(graph)
    if definition is None:
        return
    instance = an_instance(definition, spec)

    def observe(_: Node, bodies: Sequence[Body]) -> Sequence[Body]:
        return [{**each, "status": {"ok": ok, "n": 1}} for each in bodies]

    found = evaluate(definition, instance.as_schema(), observe)
    again = evaluate(definition, instance.as_schema(), observe)
    assert found == again, "the same is seen, the same comes out"
    states = {each.id: each.state for each in found.outcomes}
    assert [each.id for each in found.outcomes] == list(definition.resources)
    for node in definition.nodes:
        assert {*definition.resources[: definition.resources.index(node.id)]} >= node.needs
        if states[node.id] in ("ready", "not_ready"):
            assert {states[each] for each in node.needs} <= {"ready"}
        if any(states[each] == "skipped" for each in node.needs):
            assert states[node.id] == "skipped"
    if definition.late:
        return
    try:
        rendered = {each.label: each.body for each in render(definition, instance)}
    except InputError:
        return
    there = evaluate(definition, instance.as_schema(), lambda _, bodies: bodies)
    for outcome in there.outcomes:
        for index, body in enumerate(outcome.desired or ()):
            assert body in (rendered.get(outcome.id), rendered.get(f"{outcome.id}-{index}"))
