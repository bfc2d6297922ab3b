"""Planning again and again with a perfect provider reaches the target, from anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_edge.core.diff import Owned, diff
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.order import dependencies
from holdfast_edge.core.steps import Create, Remove, Update, Wait
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource
from support.builders import file_body

NAMES = [f"f{n}" for n in range(7)]


@st.composite
def targets(draw: st.DrawFn) -> dict[ResourceKey, Resource]:
    """Any set of resources whose dependencies only point backwards in some order: no circles."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    made = []
    for n, name in enumerate(names):
        after = draw(st.lists(st.sampled_from(names[:n]), unique=True, max_size=3)) if n else []
        body = file_body(name, f"/srv/{name}", draw(st.sampled_from("xy")))
        made.append(resource(body, depends_on=tuple(ResourceKey(f"File/{each}") for each in after)))
    return {each.key: each for each in made}


World = dict[ResourceKey, str]  # digest by key


def look(target: dict[ResourceKey, Resource], world: World) -> dict[ResourceKey, Observed]:
    return {
        key: Observed(key, key in world, () if world.get(key) == wanted.digest else ("digest",))
        for key, wanted in target.items()
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(targets(), min_size=1, max_size=3), st.dictionaries(st.sampled_from(NAMES), st.just("drift")))
@pytest.mark.invariant("only-owned-things-are-removed")
def test_repeated_planning_converges_and_leaves_strangers_alone(
    history: list[dict[ResourceKey, Resource]], strangers: dict[str, str]
) -> None:
    world: World = {ResourceKey(f"File/{name}"): digest for name, digest in strangers.items()}
    owned: dict[ResourceKey, Owned] = {}
    touched: set[ResourceKey] = set()
    for number, target in enumerate(history):
        graph = dependencies(target.values())
        turns = 2 * len(NAMES) + 2 if number == len(history) - 1 else 1  # only the last target is let finish
        for _ in range(turns):
            plan = diff(target, graph, look(target, world), owned)
            assert plan == diff(target, graph, look(target, world), owned)
            if not plan:
                break
            assert any(not isinstance(step, Wait) for step in plan), "only waiting: deadlock"
            for step in plan:
                match step:
                    case Create(wanted) | Update(wanted, _):
                        assert all(world.get(other) == target[other].digest for other in graph[step.key])
                        world[step.key] = wanted.digest
                        owned[step.key] = Owned(wanted.body, wanted.digest, graph[step.key])
                        touched.add(step.key)
                    case Remove(key):
                        assert key in owned
                        world.pop(key, None)
                        del owned[key]
                    case _:
                        pass
    last = history[-1]
    assert diff(last, dependencies(last.values()), look(last, world), owned) == ()
    assert {key: world[key] for key in last} == {key: wanted.digest for key, wanted in last.items()}
    left = {ResourceKey(f"File/{name}") for name in strangers} - touched - set(last)
    assert all(world[key] == "drift" for key in left)
