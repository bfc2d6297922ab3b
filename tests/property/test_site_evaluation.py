"""Generated blueprints at a site: it comes to what the same code says anywhere, settles, and never removes by not knowing."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_edge.core.late import Decision
from holdfast_edge.core.programs import Judged
from holdfast_edge.core.sights import object_of
from holdfast_hub.blueprint.program import program_of
from holdfast_hub.core.target import Contribution, compose
from holdfast_hub.operations.instance_rows import rendered_resources
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.blueprint.evaluation import Body, evaluate
from holdfast_protocol.blueprint.node import Node
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire.names import resource_key
from support.blueprints import an_instance, blueprint_text
from support.programs import Bench

IDS = ("a", "b", "c", "d")
SCHEMA = "{on: boolean | default=true, zones: '[]string'}"
STATUSES: tuple[dict[str, Any], ...] = ({}, {"ok": True, "n": 1}, {"ok": True, "n": 0}, {"ok": False, "n": 2})


@st.composite
def blueprints(draw: st.DrawFn) -> str:
    """Resources that read the status and the names of those before them."""
    lines: list[str] = []
    singles: list[str] = []
    for name in IDS[: draw(st.integers(2, 4))]:
        read = [f"string({each}.status.n)" for each in singles] + [f"{each}.metadata.name" for each in singles]
        value = draw(
            st.sampled_from(
                ["schema.metadata.name", *read, *read, *(f"string(1 / {each}.status.n)" for each in singles)]
            )
        )
        lines.append(f"- id: {name}")
        if singles and draw(st.booleans()):
            lines.append(f'  includeWhen: ["${{{draw(st.sampled_from(singles))}.status.ok == true}}"]')
        looped = draw(st.integers(0, 3)) == 0
        if looped:
            items = draw(st.sampled_from(["schema.spec.zones", *(f"lists.range({each}.status.n)" for each in singles)]))
            if "range" in items:
                items = f"{items.replace('range(', 'range(int(').replace(')', '))', 1)}.map(i, string(i))"
            lines.append(f'  forEach: [{{z: "${{{items}}}"}}]')
        else:
            if draw(st.booleans()):
                lines.append(f'  readyWhen: ["${{{name}.status.n >= 0}}"]')
            singles.append(name)
        called = f"{name}-${{z}}" if looped else name
        data = f'{{x: "${{{value}}}"}}'
        lines.append(f'  template: {{apiVersion: v1, kind: ConfigMap, metadata: {{name: "{called}"}}, data: {data}}}')
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(blueprints(), st.lists(st.tuples(*[st.sampled_from(STATUSES)] * 2), min_size=1, max_size=4))
def test_a_site_comes_to_what_the_same_code_says_and_keeps_what_it_cannot_decide(
    text: str, looks: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    (document,) = read_documents(blueprint_text(text, SCHEMA))
    try:
        definition = check_blueprint(document).value
        instance = an_instance(definition, "{zones: [u, v]}")
        resources = rendered_resources(definition, instance, 1)
    except InputError:
        return
    program = program_of(definition, instance, 1)
    bench = Bench(compose([Contribution(instance.owner, resources, program)]).content)
    if program is None:
        assert not definition.late
        return
    late = {each.id for each in program.instances[0].late}
    for statuses in looks:
        bench.statuses = {f"ConfigMap/{name}": status for name, status in zip(IDS, statuses, strict=False)}
        owned = dict(bench.owned)
        decided = bench.settle()
        wanted = {key: one.body for key, one in decided.wanted.items()}

        def observe(node: Node, bodies: Sequence[Body], decided: Decision = decided) -> Sequence[Body]:
            keys = [resource_key(each) for each in bodies]
            return [object_of(decided.wanted[key], bench._observed(key)) for key in keys if key in decided.wanted]

        said = evaluate(definition, instance.as_schema(), observe)
        judged = bench.verdicts[instance.owner]
        assert isinstance(judged, Judged)
        assert judged.status is not None
        assert (judged.status.status, judged.status.conditions) == (said.status, said.conditions)
        for outcome in said.outcomes:
            keys = {key for key, one in decided.wanted.items() if one.id == outcome.id}
            if outcome.desired is not None:
                assert {resource_key(each): each for each in outcome.desired} == {key: wanted[key] for key in keys}
            elif outcome.state == "skipped":
                assert not keys
            else:
                assert keys >= {key for key, thing in owned.items() if thing.id == outcome.id and outcome.id in late}
