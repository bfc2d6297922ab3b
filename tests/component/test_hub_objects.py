"""Placed objects on a real hub: stored, told to the sites they select and to no other, taken away again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, objects, site_views, sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import audit
from holdfast_hub.store import targets as target_store
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.wire.names import SiteName
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, files, hub_at, instance, newest, put

pytestmark = pytest.mark.anyio

EAST = "placement: {fieldSelector: {matchExpressions: [{key: zone, operator: In, values: [east]}]}}"


def policy(name: str = "short", expression: str = "size(object.spec.content) < 20", spec: str = "") -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Policy\nmetadata:\n  name: {name}\nspec:\n"
        f"  match: {{kinds: [File]}}\n  rules:\n    - name: small\n      expression: {expression}\n"
        f"      message: files are small here\n  {spec}\n"
    )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


@pytest.fixture
async def fleet(hub: Hub) -> Hub:
    """Two sites, west and east, each with an instance."""
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    await put(hub, BLUEPRINT, instance(), instance("east", zone="east", path="/etc/east"))
    return hub


async def test_an_object_without_a_placement_reaches_every_site_that_has_something(fleet: Hub) -> None:
    await add_site(fleet, "bare", zone="north")
    applied = await put(fleet, policy())
    assert [(each.kind, each.name, each.action) for each in applied.results] == [("Policy", "short", "created")]
    assert applied.sites == [SITE, "press-02"]
    told = await content(fleet)
    assert [each["name"] for each in told.policies] == ["short"]
    assert told.policies[0]["match"] == {"kinds": ["File"]}
    assert "policies/v1" in told.requires
    assert await newest(fleet, "bare") is None


async def test_a_site_without_objects_requires_nothing_more_than_before(fleet: Hub) -> None:
    assert "policies/v1" not in (await content(fleet)).requires


async def test_a_placed_object_touches_the_sites_it_selects_and_no_other(fleet: Hub) -> None:
    applied = await put(fleet, policy(spec=EAST))
    assert applied.sites == ["press-02"]
    assert (await content(fleet)).policies == ()
    moved = await put(fleet, policy(spec=EAST.replace("east", "west")))
    assert moved.sites == [SITE, "press-02"], "the ones it left and the ones it came to"
    assert (await content(fleet, "press-02")).policies == ()


async def test_a_new_label_brings_a_site_what_is_placed_there(fleet: Hub) -> None:
    await put(fleet, policy(spec="placement: {labelSelector: {matchLabels: {tier: edge}}}"))
    assert (await content(fleet)).policies == ()
    await sites.describe_site(fleet, SITE, sites.SiteWords(labels={"tier": "edge"}), author="ann")
    assert len((await content(fleet)).policies) == 1
    assert (await content(fleet, "press-02")).policies == ()


async def test_applying_it_again_changes_nothing_and_another_text_of_the_same_touches_no_site(fleet: Hub) -> None:
    await put(fleet, policy())
    again = await put(fleet, policy())
    assert ([each.action for each in again.results], again.sites, again.audit) == (["unchanged"], [], 0)
    reworded = await put(fleet, f"# why\n{policy()}")
    assert ([each.action for each in reworded.results], reworded.sites) == (["changed"], [])


async def test_a_dry_run_writes_nothing(fleet: Hub) -> None:
    done = await apply.apply(fleet, files(policy()), author="ann", dry_run=True)
    assert done.sites == [SITE, "press-02"]
    assert await objects.list_objects(fleet) == []
    assert (await content(fleet)).policies == ()


async def test_one_audit_event_stands_for_the_whole_change(fleet: Hub) -> None:
    before = len(await fleet.store.read(lambda held: audit.newest(held, 100)))
    await put(fleet, policy(), policy("other"))
    events = await fleet.store.read(lambda held: audit.newest(held, 100))
    assert len(events) == before + 1
    assert events[0].detail["sites"] == 2
    (own,) = await fleet.store.read(lambda held: audit.newest(held, 100, "Policy/other"))
    assert own == events[0]


async def test_a_deleted_object_leaves_the_targets(fleet: Hub) -> None:
    await put(fleet, policy())
    deleted = await apply.delete_object(fleet, "Policy", "short", author="ann")
    assert (deleted.deleted, deleted.sites) == ("Policy/short", [SITE, "press-02"])
    assert (await content(fleet)).policies == ()
    with pytest.raises(NotFoundError):
        await apply.delete_object(fleet, "Policy", "short", author="ann")


async def test_it_is_listed_and_shown_with_its_sites(fleet: Hub) -> None:
    await put(fleet, policy(spec=EAST))
    (item,) = await objects.list_objects(fleet, "Policy")
    assert (item.name, item.kind, item.sites) == ("short", "Policy", 1)
    shown = await objects.show_object(fleet, "Policy", "short")
    assert shown["placed_on"] == ["press-02"]
    assert shown["placement"]["fieldSelector"]
    assert shown["values"]["rules"][0]["name"] == "small"
    assert shown["history"]
    assert (await site_views.show_site(fleet, "press-02"))["objects"] == ["Policy/short"]
    assert (await site_views.show_site(fleet, SITE))["objects"] == []
    for kind, name in (("Policy", "long"), ("Nothing", "short")):
        with pytest.raises(NotFoundError):
            await objects.show_object(fleet, kind, name)


async def test_every_mistake_in_an_object_has_its_place(hub: Hub) -> None:
    text = (
        "apiVersion: holdfast.io/v1alpha1\nkind: Policy\nmetadata:\n  name: Bad Name\n  owner: me\nspec:\n  rules:\n"
        "    - expression: object.spec ==\n      message: 7\n    - expression: size(object.kind)\n  mach: {}\n"
        "  placement: {}\nextra: 1\n"
    )
    with pytest.raises(InputError) as caught:
        await put(hub, text)
    places = {(each.line, each.path) for each in caught.value.problems}
    assert places == {
        (13, "extra"),
        (4, "metadata.name"),
        (5, "metadata.owner"),
        (12, "spec.placement"),
        (11, "spec.mach"),
        (8, "spec.rules[0].expression"),
        (9, "spec.rules[0].message"),
        (10, "spec.rules[1].expression"),
    }
    assert await objects.list_objects(hub) == []


async def test_the_same_object_twice_in_one_change_is_refused(hub: Hub) -> None:
    with pytest.raises(InputError, match="given twice"):
        await put(hub, policy(), policy())


async def test_no_blueprint_may_define_a_kind_of_ours(hub: Hub) -> None:
    with pytest.raises(InputError, match="Holdfast's own"):
        await put(hub, BLUEPRINT.replace("kind: Greeting", "kind: Policy"))


async def test_objects_are_there_after_a_restart(fleet: Hub, tmp_path: Path) -> None:
    await put(fleet, policy(spec=EAST))
    told = await newest(fleet, "press-02")
    with hub_at(tmp_path) as again:
        await again.load()
        assert [each.name for each in await objects.list_objects(again)] == ["short"]
        assert (await put(again, policy(spec=EAST))).sites == []
        assert await newest(again, "press-02") == told


async def test_a_kill_between_facts_and_target_is_made_good_at_the_next_start(fleet: Hub, tmp_path: Path) -> None:
    await put(fleet, policy(spec="placement: {fieldSelector: {matchExpressions: [{key: arch, operator: Exists}]}}"))
    assert (await content(fleet)).policies == ()

    def reporting(connection: object) -> None:
        connection.execute(  # type: ignore[attr-defined]
            "INSERT INTO nodes (site, node, partition, public, at, facts) SELECT name, 'node-1', partition, x'', 0,"
            ' \'{"arch":"arm64"}\' FROM sites WHERE name = ?',
            (SITE,),
        )

    await fleet.store.write(reporting)
    with hub_at(tmp_path) as again:
        await again.load()
        await sites.repair_placement(again)
        assert len((await content(again)).policies) == 1
        first = await newest(again)
        await sites.repair_placement(again)
        assert await newest(again) == first
        held = await again.store.read(lambda connection: target_store.placements(connection, again.partitions))
        assert held[SiteName(SITE)] == again.fleet.placed_digest(SiteName(SITE))
