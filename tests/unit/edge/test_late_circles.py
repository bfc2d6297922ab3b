"""Late resources that need each other in a circle: those are refused, no others, and it costs one look at each."""

from typing import Any

import pytest

from holdfast_edge.core import order
from holdfast_edge.core.late import decide
from holdfast_edge.core.programs import Judged
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.program import Late, Program, ProgramInstance

MANY = 40


def config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


def file(name: str, source: str) -> dict[str, Any]:
    spec = {"path": f"/srv/{name}", "contentFrom": {"configMapKeyRef": {"name": source, "key": "a"}}}
    return {"apiVersion": "holdfast.io/v1alpha1", "kind": "File", "metadata": {"name": name}, "spec": spec}


def test_what_is_in_a_circle_is_refused_and_nothing_is_looked_at_again_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    dependencies = order.dependencies

    def counted(resources: Any) -> Any:
        looks.append(1)
        return dependencies(resources)

    monkeypatch.setattr(order, "dependencies", counted)
    late = (Late("configs", "ConfigMap", ""), Late("files", "File", ""), Late("apart", "ConfigMap", ""))
    instance = ProgramInstance("App/one", {}, late)
    made = {
        "configs": tuple(config(f"c{number}") for number in range(MANY)),
        "files": tuple(file(f"f{number}", f"c{number}") for number in range(MANY)),
        "apart": (config("apart"),),
    }
    judged = Judged(made=made, needs={"configs": frozenset({"files"})})
    found = decide({}, (Program("app", 1, {}, (instance,)),), {"App/one": judged}, {})
    assert sorted(found.wanted) == sorted(["ConfigMap/apart", *(f"ConfigMap/c{number}" for number in range(MANY))])
    said = {(row.condition.reason, row.condition.message) for row in found.rows.values()}
    assert len(said) == MANY
    assert ("DependencyCycle", "resources depend on each other: File/f0 -> ConfigMap/c0 -> File/f0") in said
    assert len(looks) == 1


@pytest.mark.parametrize(
    ("graph", "way"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["d"]}, ""),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ""),
        ({"a": ["x", "b"], "b": ["c"], "c": ["a"]}, "abca"),
        ({"a": ["a"]}, "aa"),
    ],
)
def test_a_circle_is_a_way_back_to_where_it_began(graph: dict[ResourceKey, list[ResourceKey]], way: str) -> None:
    assert "".join(order.circle(ResourceKey("a"), graph)) == way
