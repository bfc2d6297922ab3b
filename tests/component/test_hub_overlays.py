"""Overlays and policies on a real hub: what they do to the targets of the sites they select, and what they refuse."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, diff, render, sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import status as status_store
from holdfast_protocol.errors import InputError
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, files, hub_at, instance, newest, put

pytestmark = pytest.mark.anyio

EAST = "fieldSelector: {matchExpressions: [{key: zone, operator: In, values: [east]}]}"


def overlay(
    name: str = "tune", patch: str = "{spec: {content: tuned}}", target: str = "kind: File", more: str = ""
) -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Overlay\nmetadata:\n  name: {name}\nspec:\n  {more}\n  patches:\n"
        f"    - target: {{{target}}}\n      patch: {patch}\n"
    )


def policy(expression: str = "size(object.spec.content) < 10", name: str = "short", more: str = "") -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Policy\nmetadata:\n  name: {name}\nspec:\n  match: {{kinds: [File]}}\n"
        f"  {more}\n  rules:\n    - {{name: small, expression: '{expression}', message: files are small here}}\n"
    )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


@pytest.fixture
async def fleet(hub: Hub) -> Hub:
    """Two sites, west and east, with one instance on both."""
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    both = instance("both").replace("values: [west]", "values: [west, east]")
    await put(hub, BLUEPRINT, both)
    return hub


async def texts(hub: Hub, site: str = SITE) -> list[str]:
    return [each.spec["content"] for each in (await content(hub, site)).resources]


async def test_an_overlay_changes_the_sites_it_selects_and_leaves_the_rest(fleet: Hub) -> None:
    untouched = await newest(fleet)
    applied = await put(fleet, overlay(more=f"placement: {{{EAST}}}"))
    assert applied.sites == ["press-02"]
    assert await texts(fleet, "press-02") == ["tuned"]
    assert await texts(fleet) == ["hello"]
    assert await newest(fleet) == untouched
    assert (await content(fleet, "press-02")).requires == (await content(fleet)).requires, (
        "a site sees the outcome only"
    )


async def test_general_overlays_go_before_specific_ones(fleet: Hub) -> None:
    await put(
        fleet,
        overlay("a-site", "{spec: {content: specific}}", more=f"placement: {{{EAST}}}\n  order: 10"),
        overlay("b-all", "{spec: {content: general, path: /etc/all}}"),
    )
    assert (await texts(fleet), await texts(fleet, "press-02")) == (["general"], ["specific"])
    assert (await content(fleet, "press-02")).resources[0].spec["path"] == "/etc/all"


async def test_an_overlay_taken_away_brings_back_what_was(fleet: Hub) -> None:
    before = await newest(fleet)
    await put(fleet, overlay())
    await apply.delete_object(fleet, "Overlay", "tune", author="ann")
    after = await newest(fleet)
    assert before is not None
    assert after is not None
    assert after.digest == before.digest


async def test_a_patch_without_a_target_at_a_site_is_a_warning_at_its_place(fleet: Hub) -> None:
    applied = await put(fleet, overlay(target="kind: Deployment"))
    (warning,) = applied.warnings
    assert (warning.severity, warning.line, warning.path) == ("warning", 8, "spec.patches[0]")
    assert warning.message == "it finds nothing to change, at site press-01 and 1 more"
    assert applied.results[0].action == "created"


async def test_an_overlay_that_would_break_something_is_refused_at_its_patch(fleet: Hub) -> None:
    before = await newest(fleet)
    with pytest.raises(InputError) as caught:
        await put(fleet, overlay(patch="{metadata: {name: other}}"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.path, problem.resource) == (8, "spec.patches[0]", "Overlay/tune")
    assert "may not change metadata.name" in problem.message
    assert await newest(fleet) == before


async def test_claims_are_checked_after_overlays(fleet: Hub) -> None:
    await put(fleet, instance("other", path="/etc/other"))
    with pytest.raises(InputError, match="both Greeting/both and Greeting/other claim file /etc/other"):
        await put(fleet, overlay(patch="{spec: {path: /etc/other}}", target="instance: both"))


async def test_a_policy_refuses_an_instance_naming_both(fleet: Hub) -> None:
    await put(fleet, policy())
    with pytest.raises(InputError) as caught:
        await put(fleet, instance("long", path="/etc/long", text="hello everybody"))
    (problem,) = caught.value.problems
    assert problem.message == "Policy/short (small): files are small here: File/long of Greeting/long, at site press-01"
    assert (problem.resource, problem.file, problem.line) == ("Greeting/long", "file-1.yaml", 1)
    assert len((await content(fleet)).resources) == 1


async def test_a_new_policy_is_refused_while_something_there_breaks_it(fleet: Hub) -> None:
    with pytest.raises(InputError) as caught:
        await apply.apply(fleet, files(policy('object.spec.content == "bye"')), author="ann", dry_run=True)
    (problem,) = caught.value.problems
    assert problem.resource == "Greeting/both"
    assert "at site press-01 and 1 more" in problem.message
    elsewhere = "placement: {labelSelector: {matchLabels: {tier: none}}}"
    await put(fleet, policy('object.spec.content == "bye"', more=elsewhere))
    with pytest.raises(InputError, match="files are small here"):
        await sites.describe_site(fleet, SITE, sites.SiteWords(labels={"tier": "none"}), author="ann")


async def test_a_policy_judges_what_overlays_made(fleet: Hub) -> None:
    await put(fleet, policy())
    with pytest.raises(InputError, match="files are small here"):
        await put(fleet, overlay(patch="{spec: {content: something much longer}}"))
    both = await put(fleet, instance("long", path="/l", text="hello everybody"), overlay("cut", target="name: long"))
    assert both.sites == [SITE]


async def test_a_policy_that_facts_bring_to_a_site_keeps_the_target_it_has(fleet: Hub) -> None:
    armed = "placement: {fieldSelector: {matchExpressions: [{key: arch, operator: Exists}]}}"
    await put(fleet, policy('object.spec.content == "bye"', more=armed))
    before = await newest(fleet)

    def reporting(connection: object) -> None:
        connection.execute(  # type: ignore[attr-defined]
            "INSERT INTO nodes (site, node, partition, public, at, facts) SELECT name, 'node-1', partition, x'', 0,"
            ' \'{"arch":"arm64"}\' FROM sites WHERE name = ?',
            (SITE,),
        )

    await fleet.store.write(reporting)
    await sites.refresh_facts(fleet, [fleet.fleet.sites[next(iter(fleet.fleet.sites))].row.name])
    assert await newest(fleet) == before
    (problem,) = await fleet.store.read(lambda held: status_store.problems(held, SITE))
    assert "files are small here" in problem.message
    await apply.delete_object(fleet, "Policy", "short", author="ann")
    assert await fleet.store.read(lambda held: status_store.problems(held, SITE)) == []


async def test_diff_shows_what_an_overlay_would_do_at_which_sites(fleet: Hub) -> None:
    found = await diff.diff(fleet, files(overlay(more=f"placement: {{{EAST}}}")), author="ann")
    (group,) = found.groups
    assert group.sites == ["press-02"]
    assert "+  content: tuned" in group.diff
    assert not found.same


async def test_what_a_site_gets_is_rendered_with_its_overlays(fleet: Hub) -> None:
    await put(fleet, overlay(more=f"placement: {{{EAST}}}"))
    for site, text in ((SITE, "hello"), ("press-02", "tuned"), ("", "hello")):
        shown = await render.render(fleet, [], site=site)
        assert [each.body["spec"]["content"] for each in shown.resources] == [text]
