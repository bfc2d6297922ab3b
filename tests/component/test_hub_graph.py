"""Conditions, collections, observed state and kro's own definitions at the hub; and why an instance is where."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, views
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.placement import Asked, explain_placement
from holdfast_hub.operations.sites import SiteWords, add_site
from holdfast_protocol.errors import InputError, NotFoundError
from support.builders import SITE
from support.hubs import add_site as add_west_site
from support.hubs import content, files, hub_at, instance, put

pytestmark = pytest.mark.anyio

GRAPH = """\
apiVersion: kro.run/v1alpha1
kind: ResourceGraphDefinition
metadata: {name: greeting.kro.run}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Greeting
    spec: {lines: "[]string", loud: boolean | default=false}
    status: {first: "${base.metadata.name}"}
  resources:
    - id: base
      readyWhen: ["${base.spec.content != ''}"]
      template: {apiVersion: holdfast.io/v1alpha1, kind: File, metadata: {name: base}, spec: {path: /etc/base, content: x}}
    - id: lines
      forEach: [{line: "${schema.spec.lines}"}]
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: "line-${line}"}
        spec: {path: "/etc/${line}", content: "${base.metadata.name}"}
    - id: bell
      includeWhen: ["${schema.spec.loud}"]
      template: {apiVersion: holdfast.io/v1alpha1, kind: File, metadata: {name: bell}, spec: {path: /etc/bell, content: x}}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


def greeting(**values: str) -> str:
    return instance(**values).replace("apiVersion: v1alpha1", "apiVersion: kro.run/v1alpha1")


async def test_a_definition_of_kro_with_loops_and_conditions_becomes_a_target(hub: Hub) -> None:
    await add_west_site(hub)
    applied = await apply.apply(hub, files(GRAPH, greeting(lines="[a, b]")), author="test")
    assert [each.path for each in applied.warnings] == ["spec.resources[0].readyWhen", "spec.schema.status"]
    first, *lines = (await content(hub)).resources
    assert [each.key for each in (first, *lines)] == ["File/base", "File/line-a", "File/line-b"]
    assert {each.depends_on for each in lines} == {("File/base",)}
    await put(hub, greeting(lines="[b]", loud="true"))
    assert [each.key for each in (await content(hub)).resources] == ["File/base", "File/line-b", "File/bell"]


async def test_what_only_a_site_knows_is_refused_with_the_expression_and_nothing_is_kept(hub: Hub) -> None:
    text = GRAPH.replace('${base.metadata.name}"}\n    - id: bell', '${base.status.ip}"}\n    - id: bell')
    with pytest.raises(InputError) as refused:
        await put(hub, text, greeting(lines="[a]"))
    (problem,) = refused.value.problems
    assert problem.path == "spec.resources[1].template.spec.content"
    assert "${base.status.ip} reads the status of base, which only a site knows" in problem.message
    assert await views.list_blueprints(hub) == []


async def test_a_placement_is_explained_requirement_by_requirement(hub: Hub) -> None:
    await add_west_site(hub)
    await add_site(hub, "two-zones", SiteWords({}, ["north", "west"], "", ""), author="test")
    await add_site(hub, "elsewhere", SiteWords({}, ["east"], "", ""), author="test")
    await put(
        hub, GRAPH, greeting(lines="[a]"), greeting(lines="[b]").replace("name: west", "name: lost").split("  plac")[0]
    )
    found = await explain_placement(hub, Asked("west", SITE))
    assert (found.instance, found.placed) == ("Greeting/west", True)
    (both,) = (await explain_placement(hub, Asked("Greeting/west", "two-zones"))).requirements
    assert (both.space, both.requirement, both.holds, both.found) == (
        "field",
        "zone in (west)",
        True,
        ("north", "west"),
    )
    missed = await explain_placement(hub, Asked("west", "elsewhere"))
    assert (missed.placed, missed.requirements[0].found) == (False, ("east",))
    lost = await explain_placement(hub, Asked("lost", SITE))
    assert (lost.placed, lost.message) == (False, "it has no placement, and goes to no site")
    for wrong in (Asked("nobody", SITE), Asked("west", "nowhere")):
        with pytest.raises(NotFoundError):
            await explain_placement(hub, wrong)


async def test_sites_and_nodes_are_chosen_by_labels_and_fields_together(hub: Hub) -> None:
    await add_site(hub, "a", SiteWords({"tier": "gold"}, ["west", "north"], "eu", ""), author="test")
    await add_site(hub, "b", SiteWords({"tier": "gold"}, ["east"], "", ""), author="test")

    async def names(labels: str, fields: str) -> list[str]:
        return [each.name for each in await views.list_sites(hub, labels, fields)]

    assert await names("tier=gold", "zone=west") == ["a"]
    assert await names("", "zone!=north,name!=c") == ["b"]
    assert await names("", "region=") == ["b"]
    assert await names("!tier", "zone=west") == []
    assert await views.list_nodes(hub, "tier=gold", "zone=west") == []
    with pytest.raises(InputError):
        await names("", "zone")
