"""Applying and deleting: all of it or nothing, every problem at once, one audit event for each."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_hub.link import answers
from holdfast_hub.link.answers import Message
from holdfast_hub.operations import apply, diff, instance_views, render, site_views, sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.kits import KitWords, site_kit
from holdfast_hub.operations.sites import SiteWords
from holdfast_hub.store import audit, status
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError, TransientError
from support.builders import NODE as NODE_KEY
from support.builders import SITE
from support.hub_asked import everything
from support.hubs import (
    BLUEPRINT,
    add_site,
    content,
    files,
    give_key,
    hello,
    hub_at,
    instance,
    newest,
    put,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def history(hub: Hub) -> list[str]:
    found = await hub.store.read(lambda held: audit.newest(held, 100))
    return [each.action for each in found]


async def test_a_blueprint_and_an_instance_give_their_sites_a_target(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    applied = await put(hub, instance(), BLUEPRINT)
    assert [(each.kind, each.action, each.revision) for each in applied.results] == [
        ("Blueprint", "created", 1),
        ("Greeting", "created", None),
    ]
    assert applied.sites == [SITE]
    assert [each.key for each in (await content(hub)).resources] == ["File/west"]
    assert await newest(hub, "press-02") is None
    assert applied.audit


async def test_documents_may_come_in_any_order(hub: Hub, tmp_path: Path) -> None:
    await add_site(hub)
    await put(hub, f"{instance()}---\n{BLUEPRINT}")
    with hub_at_other(tmp_path) as other:
        await add_site(other)
        await put(other, BLUEPRINT, instance())
        assert (await content(other)).resources == (await content(hub)).resources


def hub_at_other(folder: Path) -> Any:
    (folder / "other").mkdir()
    return hub_at(folder / "other")


async def test_applying_the_same_again_changes_nothing(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    before = await everything(hub)
    applied = await put(hub, BLUEPRINT, instance())
    assert {each.action for each in applied.results} == {"unchanged"}
    assert (applied.sites, applied.audit) == ([], 0)
    assert await everything(hub) == before


async def test_a_revision_that_no_site_would_see_publishes_nothing(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    first = await newest(hub)
    applied = await put(hub, f"# a word\n{BLUEPRINT}", f"# another\n{instance()}")
    assert [(each.action, each.revision) for each in applied.results] == [("changed", 2), ("changed", None)]
    assert applied.sites == []
    assert await newest(hub) == first
    assert (await content(hub)).resources[0].revision == 1


async def test_a_changed_blueprint_reaches_the_sites_of_its_stored_instances_only(hub: Hub) -> None:
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    await put(hub, BLUEPRINT, instance(), instance("east", "east", path="/etc/issue"))
    applied = await put(hub, BLUEPRINT.replace('default="/etc/motd"', 'default="/etc/hello"'))
    assert applied.sites == [SITE]
    (resource,) = (await content(hub)).resources
    assert (resource.spec["path"], resource.revision) == ("/etc/hello", 2)
    row = await newest(hub)
    assert row is not None
    assert row.generation == 2
    assert row.previous


async def test_every_problem_of_every_file_is_told_and_nothing_is_written(hub: Hub) -> None:
    await add_site(hub)
    before = await everything(hub)
    with pytest.raises(InputError) as refused:
        await put(hub, "a: [", BLUEPRINT, instance(txt="oops"), instance("other", kind="Gretting"))
    problems = {problem.file: problem for problem in refused.value.problems}
    assert set(problems) == {"file-1.yaml", "file-3.yaml", "file-4.yaml"}
    assert problems["file-3.yaml"].line == 6
    assert problems["file-3.yaml"].path == "spec.txt"
    assert problems["file-4.yaml"].hint == "did you mean Greeting?"
    assert await everything(hub) == before


async def test_an_instance_of_a_refused_blueprint_is_not_blamed_for_it(hub: Hub) -> None:
    with pytest.raises(InputError) as refused:
        await put(hub, BLUEPRINT.replace("resources:", "resurces:"), instance())
    assert {problem.file for problem in refused.value.problems} == {"file-1.yaml"}


async def test_a_blueprint_that_breaks_a_stored_instance_is_refused_at_the_instances_place(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, f"{BLUEPRINT}---\n{instance(text='hi')}")
    text = BLUEPRINT.replace("text: string", "words: string").replace("spec.text", "spec.words")
    with pytest.raises(InputError) as refused:
        await apply.apply(hub, files(text), author="test", force=True)
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("spec.text", BLUEPRINT.count("\n") + 7)
    assert "text" in problem.message


async def test_a_breaking_change_of_a_stored_blueprint_is_refused_at_its_place_unless_forced(hub: Hub) -> None:
    await put(hub, BLUEPRINT)
    before = await everything(hub)
    changed = BLUEPRINT.replace('text: string | default="hello"', 'text: string | default="hello" enum="hello,bye"')
    with pytest.raises(InputError) as refused:
        await put(hub, changed)
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("spec.schema.spec.text", 11)
    assert "breaking change of greeting revision 1: any value was allowed, and now only hello, bye" in problem.message
    assert await everything(hub) == before
    shown = await diff.diff(hub, files(changed), author="test")
    assert [each.severity for each in shown.warnings] == ["warning"], "what would change can be looked at first"
    applied = await apply.apply(hub, files(changed), author="test", force=True)
    assert [each.revision for each in applied.results] == [2]
    assert "breaking change" in applied.warnings[0].message


async def test_two_documents_of_one_name_are_refused(hub: Hub) -> None:
    with pytest.raises(InputError) as refused:
        await put(hub, BLUEPRINT, BLUEPRINT, instance(), instance(text="other"))
    assert sorted(problem.message for problem in refused.value.problems) == [
        "Blueprint 'greeting' is given twice",
        "Greeting/west is given twice",
    ]


async def test_a_kind_has_one_blueprint(hub: Hub) -> None:
    await put(hub, BLUEPRINT)
    with pytest.raises(InputError, match="already defined by Blueprint 'greeting'"):
        await put(hub, BLUEPRINT.replace("name: greeting", "name: other"))


async def test_two_instances_that_claim_one_file_at_a_site_are_refused_naming_both(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    before = await everything(hub)
    with pytest.raises(InputError) as refused:
        await put(hub, instance("second"))
    (problem,) = refused.value.problems
    assert "both Greeting/second and Greeting/west claim file /etc/motd" in problem.message
    assert SITE in problem.message
    assert problem.file
    assert await everything(hub) == before
    assert (await put(hub, instance("second", path="/etc/other"))).sites == [SITE]


async def test_labels_that_would_bring_two_claims_together_are_refused(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance(), instance("east", "east"))
    with pytest.raises(InputError, match="both Greeting/east and Greeting/west claim"):
        await sites.describe_site(hub, SITE, SiteWords(zones=["west", "east"]), author="ann")
    assert (await site_views.show_site(hub, SITE))["zones"] == ("west",)


async def test_facts_that_bring_two_claims_together_hold_the_site_and_nobody_else(hub: Hub) -> None:
    by_arch = instance("arm").replace("key: zone", "key: arch").replace("[west]", "[arm64]")
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance(), by_arch)
    held = await newest(hub)
    await report(hub, arch="arm64")
    assert await newest(hub) == held
    assert any(
        "both Greeting/arm and Greeting/west" in text for text in (await site_views.show_site(hub, SITE))["problems"]
    )
    await add_site(hub, "press-02")
    assert (await put(hub, instance(text="new"), by_arch)).sites == ["press-02"]
    assert (await put(hub, by_arch.replace("spec:\n", "spec:\n  path: /etc/arm\n"))).sites == [SITE]
    assert (await site_views.show_site(hub, SITE))["problems"] == []


async def test_a_restart_knows_a_held_site_behind_a_thousand_newer_problems(hub: Hub, tmp_path: Path) -> None:
    by_arch = instance("arm").replace("key: zone", "key: arch").replace("[west]", "[arm64]")
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance(), by_arch)
    await report(hub, arch="arm64")
    await add_site(hub, "press-02")

    def strangers(connection: sqlite3.Connection) -> None:
        later = {"at": hub.now() + 1, "message": "no node of this fleet", "reason": "UnknownNode"}
        for number in range(1000):
            status.add_problem(connection, site=f"s{number}", node="n", channel="hello", **later)

    await hub.store.write(strangers)
    hub.store.close()
    with hub_at(tmp_path) as again:
        await again.load()
        assert (await put(again, instance(text="new"))).sites == ["press-02"], "and nobody is refused for it"


async def report(hub: Hub, **facts: str) -> None:
    """Have the site's node say hello with these facts."""
    message = Message(hello(facts=facts))
    said = await hub.store.write(lambda held: answers.take(held, [message], hub.now()))
    await sites.refresh_facts(hub, said.facts)


async def test_a_site_whose_facts_fit_gets_the_instance(hub: Hub) -> None:
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance("arm").replace("key: zone", "key: arch").replace("[west]", "[arm64]"))
    assert await newest(hub) is None
    await report(hub, arch="arm64")
    assert [each.instance for each in (await content(hub)).resources] == ["Greeting/arm"]
    before = await history(hub)
    await report(hub, arch="arm64", model="x")
    assert await history(hub) == before, "facts nobody selects by are no change"


async def test_a_kill_between_facts_and_target_is_repaired_at_the_next_start(hub: Hub, tmp_path: Path) -> None:
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance("arm").replace("key: zone", "key: arch").replace("[west]", "[arm64]"))
    message = Message(hello(facts={"arch": "arm64"}))
    await hub.store.write(lambda held: answers.take(held, [message], hub.now()))
    hub.store.close()
    with hub_at(tmp_path) as again:
        await again.load()
        await sites.repair_placement(again)
        assert [each.instance for each in (await content(again)).resources] == ["Greeting/arm"]
        before = await history(again)
        await sites.repair_placement(again)
        assert await history(again) == before


async def test_a_restart_knows_everything_and_changes_nothing(hub: Hub, tmp_path: Path) -> None:
    await add_site(hub, tier="gold")
    await put(hub, BLUEPRINT, instance())
    before, rows = await site_views.list_sites(hub), await everything(hub)
    hub.store.close()
    with hub_at(tmp_path) as again:
        await again.load()
        await sites.repair_placement(again)
        assert await site_views.list_sites(again) == before
        assert await everything(again) == rows
        assert (await put(again, BLUEPRINT, instance())).audit == 0
        assert (await put(again, instance(text="new"))).sites == [SITE]


async def test_a_dry_run_says_what_would_happen_and_does_not(hub: Hub) -> None:
    await add_site(hub)
    before = await everything(hub)
    would = await apply.apply(hub, files(BLUEPRINT, instance()), author="ann", dry_run=True)
    assert (would.sites, would.audit) == ([SITE], 0)
    assert [each.action for each in would.results] == ["created", "created"]
    assert await everything(hub) == before
    assert await instance_views.list_instances(hub) == []
    assert (await put(hub, BLUEPRINT, instance())).sites == [SITE]


async def test_an_instance_without_placement_is_taken_with_a_warning(hub: Hub) -> None:
    await add_site(hub)
    applied = await put(hub, BLUEPRINT, instance().split("  placement:")[0] + "  text: hi\n")
    assert applied.sites == []
    assert "placement" in applied.warnings[0].message


async def test_deleting_an_instance_tells_its_sites_to_be_without_it(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    deleted = await apply.delete_instance(hub, "west", author="ann")
    assert (deleted.deleted, deleted.sites) == ("Greeting/west", [SITE])
    assert (await content(hub)).resources == ()
    row = await newest(hub)
    assert row is not None
    assert row.generation == 2
    with pytest.raises(NotFoundError):
        await apply.delete_instance(hub, "west", author="ann")


async def test_a_blueprint_with_instances_is_not_deleted(hub: Hub) -> None:
    await put(hub, BLUEPRINT, instance())
    with pytest.raises(ConflictError, match="Greeting/west"):
        await apply.delete_blueprint(hub, "greeting", author="ann")
    await apply.delete_instance(hub, "Greeting/west", author="ann")
    await apply.delete_blueprint(hub, "greeting", author="ann")
    assert await instance_views.list_blueprints(hub) == []


async def test_a_blueprint_made_again_goes_on_with_its_revisions(hub: Hub) -> None:
    await put(hub, BLUEPRINT)
    await apply.delete_blueprint(hub, "greeting", author="ann")
    assert (await put(hub, BLUEPRINT)).results[0].revision == 2


async def test_a_name_two_kinds_have_must_be_said_with_its_kind(hub: Hub) -> None:
    other = BLUEPRINT.replace("greeting", "parting").replace("Greeting", "Parting")
    await put(hub, BLUEPRINT, other, instance(), instance(kind="Parting", path="/etc/bye"))
    with pytest.raises(ConflictError, match=r"Greeting/west, Parting/west"):
        await instance_views.show_instance(hub, "west")
    assert (await instance_views.show_instance(hub, "Parting/west"))["kind"] == "Parting"


async def test_a_site_added_again_never_goes_back(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    await put(hub, instance(text="two"))
    await apply.delete_site(hub, SITE, author="ann")
    with pytest.raises(NotFoundError):
        await site_views.show_site(hub, SITE)
    await add_site(hub)
    row = await newest(hub)
    assert row is not None
    assert row.generation == 3


async def test_every_change_leaves_one_audit_event_and_reading_leaves_none(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    await sites.describe_site(hub, SITE, SiteWords(labels={"tier": "gold"}), author="ann")
    await site_kit(hub, SITE, KitWords(), author="ann")
    await diff.diff(hub, files(instance(text="x")), author="ann")
    await render.render(hub, [])
    await apply.delete_instance(hub, "west", author="ann")
    assert (await history(hub))[::-1] == ["add", "apply", "describe", "kit", "delete"]
    assert [each.action for each in (await site_views.show_site(hub, SITE))["history"]] == ["kit", "describe", "add"]
    (applied,) = (await instance_views.show_blueprint(hub, "greeting"))["history"]
    assert (applied.actor, applied.detail["sites"]) == ("ann", 1)
    assert applied.detail["documents"] == ["created Blueprint/greeting", "created Greeting/west"]


async def test_a_disk_that_fills_up_changes_nothing(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    before = await everything(hub)

    def cap(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    await hub.store.read(cap)
    with pytest.raises(TransientError):
        await put(hub, instance(text="x" * 30_000))
    assert await everything(hub) == before
    assert (await instance_views.show_instance(hub, "west"))["values"]["text"] == "hello"
