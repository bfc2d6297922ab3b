"""Conditions, collections, observed state and kro's own definitions at the hub; and why an instance is where."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, diff, ejection, instance_views, render, site_views
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
    assert applied.warnings == ()
    first, *lines = (await content(hub)).resources
    assert [each.key for each in (first, *lines)] == ["File/base", "File/line-a", "File/line-b"]
    assert {each.depends_on for each in lines} == {("File/base",)}
    await put(hub, greeting(lines="[b]", loud="true"))
    assert [each.key for each in (await content(hub)).resources] == ["File/base", "File/line-b", "File/bell"]


LATE = GRAPH.replace('${base.metadata.name}"}\n    - id: bell', '${base.status.path}"}\n    - id: bell')


async def test_what_only_a_site_knows_goes_to_it_as_a_program_and_not_as_a_resource(hub: Hub) -> None:
    await add_west_site(hub)
    await put(hub, LATE, greeting(lines="[a]"))
    held = await content(hub)
    assert [each.key for each in held.resources] == ["File/base"]
    assert held.requires == ("resources/v1", "programs/v1")
    (program,) = held.programs
    (one,) = program.instances
    assert (program.blueprint, program.revision, one.owner) == ("greeting.kro.run", 1, "Greeting/west")
    assert [(late.id, late.kind) for late in one.late] == [("lines", "File")]
    assert one.schema["spec"] == {"lines": ["a"], "loud": False}
    shown = await instance_views.show_instance(hub, "west")
    assert [each["id"] for each in shown["decided_at_the_site"]] == ["lines"]


async def test_only_what_says_something_new_to_a_site_makes_a_new_target(hub: Hub) -> None:
    await add_west_site(hub)
    await put(hub, LATE, greeting(lines="[a]"))
    before = (await site_views.show_target(hub, SITE))["generation"]
    await put(hub, LATE.replace("metadata: {name: greeting.kro.run}", "metadata: {name: greeting.kro.run} # said"))
    assert (await site_views.show_target(hub, SITE))["generation"] == before
    await put(hub, LATE.replace("spec.content != ''", "spec.content == 'x'"))
    after = await site_views.show_target(hub, SITE)
    assert after["generation"] == before + 1
    assert after["content"].programs[0].revision == 3


async def test_the_program_is_shown_by_render_and_diff_and_eject_as_undecided(hub: Hub) -> None:
    await add_west_site(hub)
    given = files(LATE, greeting(lines="[a]"))
    rendered = await render.render(hub, given)
    assert [each.key for each in rendered.resources] == ["File/base"]
    (undecided,) = rendered.undecided
    assert (undecided.instance, undecided.id, undecided.kind) == ("Greeting/west", "lines", "File")
    assert "reads the status of base, which only a site knows" in undecided.why
    difference = await diff.diff(hub, given, author="test")
    (group,) = difference.groups
    assert group.undecided == ["File lines of Greeting/west"]
    assert "+++ b/evaluated at the site: Greeting/west" in group.diff
    await put(hub, LATE, greeting(lines="[a]"))
    assert (await diff.diff(hub, given, author="test")).same
    (changed,) = (await diff.diff(hub, files(LATE.replace("content != ''", "content == 'x'")), author="test")).groups
    assert changed.changed == []
    assert "${base.spec.content == 'x'}" in changed.diff
    ejected = (await ejection.eject_blueprints(hub, [])).files
    assert "${base.status.path}" in ejected["west/undecided-resources.yaml"]
    assert not any("line-" in path for path in ejected)


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
        return [each.name for each in await site_views.list_sites(hub, labels, fields)]

    assert await names("tier=gold", "zone=west") == ["a"]
    assert await names("", "zone!=north,name!=c") == ["b"]
    assert await names("", "region=") == ["b"]
    assert await names("!tier", "zone=west") == []
    assert await site_views.list_nodes(hub, "tier=gold", "zone=west") == []
    with pytest.raises(InputError):
        await names("", "zone")
