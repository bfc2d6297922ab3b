"""What an expression may make is bounded before it is evaluated, from what the values it reads really measure."""

from typing import Any

import pytest

from holdfast_protocol.blueprint.cel import Environment, ExpressionError
from holdfast_protocol.blueprint.cel_size import LIMIT, Growth, Sizes

BIG = "y" * 32_000
VALUES = {"schema": {"spec": {"s": BIG, "few": ["a", "b", "c"], "m": {"k": BIG}, "n": 3}}, "other": [{"x": BIG}] * 1000}
ENVIRONMENT = Environment({}, ["schema", "other"])


def doubled(times: int, step: str) -> str:
    source = "schema.spec.s"
    for number in range(times):
        source = step.replace("SOURCE", source).replace("NUMBER", str(number))
    return source


def evaluated(source: str) -> Any:
    expression = ENVIRONMENT.compile(source)
    return expression.evaluate(expression.bind(VALUES))


@pytest.mark.parametrize(
    "source",
    [
        doubled(14, "cel.bind(vNUMBER, SOURCE, vNUMBER + vNUMBER)"),
        doubled(20, "(SOURCE).replace('y', 'yy')"),
        doubled(14, "[SOURCE, SOURCE].join('')".replace("SOURCE, SOURCE", "SOURCE")) + ".replace('', schema.spec.s)",
        "lists.range(9000).map(i, schema.spec.s).join('')",
        "lists.range(99).map(i, lists.range(99).map(j, schema.spec.s))",
        "schema.spec.s.split('').map(c, schema.spec.s)",
        "schema.spec.s.replace('', schema.spec.s)",
        "lists.range(9000).map(i, {'k': schema.spec.s})",
        "other.map(o, o.x + o.x + o.x + o.x).join(',')",
    ],
)
def test_what_could_fill_the_memory_is_refused_and_not_tried(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluated(source)
    assert f"more than {LIMIT} characters" in caught.value.message


@pytest.mark.parametrize(
    ("source", "length"),
    [
        ("schema.spec.s + schema.spec.s", 64_000),
        ("lists.range(100).map(i, schema.spec.s).join('')", 3_200_000),
        ("schema.spec.few.map(x, x + schema.spec.s).size()", None),
        ("schema.spec.few.map(x, schema.spec.few.map(y, x + y)).flatten().join(',')", 26),
        ("schema.spec.m.k.replace('y', 'z')", 32_000),
        ("other.map(o, size(o.x)).size()", None),
        ("lists.range(schema.spec.n).map(i, schema.spec.s).join('')", 96_000),
        ("cel.bind(v, schema.spec.few, v.map(x, v.map(y, x + y))).flatten().join()", 18),
    ],
)
def test_what_people_write_passes_also_over_large_values(source: str, length: int | None) -> None:
    value = evaluated(source)
    assert length is None or len(value) == length


def test_an_expression_that_only_reads_is_not_even_looked_at() -> None:
    assert not Growth(ENVIRONMENT.compile("schema.spec.n > 3 && schema.spec.s.startsWith('a')").tree).may_grow
    assert not Growth(ENVIRONMENT.compile("schema.spec.few[0]").tree).may_grow


class Counting(Sizes):
    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.measured = 0

    def of(self, value: Any) -> Any:
        self.measured += 1
        return super().of(value)


def test_only_what_is_read_is_measured_and_that_once() -> None:
    sizes = Counting(VALUES)
    growth = Growth(ENVIRONMENT.compile("schema.spec.few.map(x, x + schema.spec.s)").tree)
    growth.check(sizes)
    first = sizes.measured
    assert first < 20, "the thousand others are not looked at"
    growth.check(sizes)
    assert sizes.measured - first < first
