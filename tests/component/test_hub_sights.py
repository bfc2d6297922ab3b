"""Reading and taking along: diffs, renderings, ejected files, lists, kits and states of a hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.link import answers
from holdfast_hub.link.answers import Message
from holdfast_hub.operations import diff, ejection, instance_views, render, site_views, sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.kits import KitWords, site_kit
from holdfast_hub.operations.sites import SiteWords
from holdfast_hub.store import targets
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError
from support.builders import NODE as NODE_KEY
from support.builders import SITE
from support.hub_asked import everything
from support.hubs import (
    BLUEPRINT,
    NODE,
    add_site,
    files,
    give_key,
    hello,
    hub_at,
    instance,
    newest,
    put,
    status,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def test_a_diff_groups_sites_that_would_see_the_same(hub: Hub) -> None:
    for name, zone in (("press-01", "west"), ("press-02", "west"), ("press-03", "east")):
        await add_site(hub, name, zone)
    await put(hub, BLUEPRINT, instance(), instance("east", "east", path="/etc/east"))
    found = await diff.diff(
        hub, files(instance(text="new"), instance("third", "east", path="/etc/third")), author="ann"
    )
    assert [(group.sites, group.added, group.changed) for group in found.groups] == [
        (["press-01", "press-02"], [], ["File/west"]),
        (["press-03"], ["File/third"], []),
    ]
    assert "-  content: hello\n+  content: new\n" in found.groups[0].diff
    assert not found.same
    assert (await diff.diff(hub, files(instance()), author="ann")).same


async def test_a_diff_shows_which_secrets_change_and_nothing_of_them(hub: Hub) -> None:
    secret = BLUEPRINT.replace("holdfast.io/v1alpha1\n        kind: File", "v1\n        kind: Secret").replace(
        "spec:\n          path: ${schema.spec.path}\n          content: ${schema.spec.text}",
        "stringData:\n          path: ${schema.spec.path}\n          word: ${schema.spec.text}",
    )
    await add_site(hub)
    await put(hub, secret, instance(text="hunter2"))
    (group,) = (await diff.diff(hub, files(instance(text="correct-horse")), author="ann")).groups
    assert "hunter2" not in group.diff
    assert "correct-horse" not in group.diff
    assert "-  word: (hidden)\n+  word: (hidden, changed)\n" in group.diff
    assert "path: (hidden)\n" in group.diff


async def test_rendering_files_needs_nothing_stored_and_stores_nothing(hub: Hub) -> None:
    before = await everything(hub)
    found = await render.render(hub, files(BLUEPRINT, instance(text="hi")))
    assert [(each.key, each.body["spec"]["content"]) for each in found.resources] == [("File/west", "hi")]
    assert await everything(hub) == before
    assert (await render.render(hub, [])).resources == []


async def test_rendering_can_be_narrowed_to_a_site(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance(), instance("east", "east"))
    assert [each.instance for each in (await render.render(hub, [], site=SITE)).resources] == ["Greeting/west"]
    assert len((await render.render(hub, [], instance="east")).resources) == 1


async def test_eject_writes_the_files_of_stored_and_given_instances(hub: Hub) -> None:
    await put(hub, BLUEPRINT, instance())
    stored = await ejection.eject_blueprints(hub, [])
    assert stored.files
    given = await ejection.eject_blueprints(hub, files(BLUEPRINT, instance("other", path="/etc/other")))
    assert set(stored.files) < set(given.files)
    assert (await ejection.eject_blueprints(hub, [], blueprint="greeting")).files == stored.files
    with pytest.raises(NotFoundError):
        await ejection.eject_blueprints(hub, [], blueprint="nothing")


async def test_labels_are_set_and_taken_away(hub: Hub) -> None:
    await add_site(hub, tier="gold", line="a")
    await sites.describe_site(hub, SITE, SiteWords(labels={"tier": None, "line": "b"}), author="ann")
    assert (await site_views.show_site(hub, SITE))["labels"] == {"line": "b"}
    with pytest.raises(InputError):
        await sites.describe_site(hub, SITE, SiteWords(labels={"a b": "c"}), author="ann")
    with pytest.raises(InputError):
        await add_site(hub, "Press_01")
    with pytest.raises(ConflictError):
        await add_site(hub)


async def test_sites_are_listed_by_a_label_selector(hub: Hub) -> None:
    await add_site(hub, "press-01", tier="gold")
    await add_site(hub, "press-02", tier="iron")
    assert [each.name for each in await site_views.list_sites(hub, "tier in (gold,tin)")] == ["press-01"]
    with pytest.raises(InputError):
        await site_views.list_sites(hub, "tier in (")


async def test_a_kit_is_what_the_edge_reads_and_the_hub_keeps_no_private_key(hub: Hub, tmp_path: Path) -> None:
    from holdfast_edge import settings

    await add_site(hub)
    kit = await site_kit(hub, SITE, KitWords(host="hub.example", port=8883), author="ann")
    for name, text in kit.items():
        (tmp_path / name).write_text(text)
    read = settings.read(tmp_path / "edge.toml")
    assert (read.site, read.node, read.hub.host, read.hub.port) == (SITE, NODE, "hub.example", 8883)
    assert read.trusted().keys == {hub.identity.signer.keyid: hub.identity.signer.public}
    node = settings.signer(read)
    assert hub.keys.keys_of(read.trusted().site, NODE) == {node.keyid: node.public}
    assert kit["node.key"].strip().encode() not in (tmp_path / "hub.db").read_bytes()
    await site_kit(hub, SITE, KitWords(), author="ann")
    assert node.keyid not in hub.keys.keys_of(read.trusted().site, NODE)


async def test_states_follow_what_the_site_says(hub: Hub) -> None:
    await add_site(hub)
    await give_key(hub, NODE_KEY)
    await put(hub, BLUEPRINT, instance())
    row = await newest(hub)
    assert (await site_views.list_sites(hub))[0].state == "NeverSeen"
    await hear(hub, Message(hello()))
    assert (await site_views.list_sites(hub))[0].state == "Pending"
    await hear(hub, Message(status(row, sequence=2)))
    (site,) = await site_views.list_sites(hub)
    assert (site.state, site.observed_generation, site.online) == ("Converged", 1, True)
    (item,) = await instance_views.list_instances(hub)
    assert (item.state, item.sites, item.converged) == ("Converged", 1, 1)


async def hear(hub: Hub, *messages: Message) -> answers.Answers:
    return await hub.store.write(lambda held: answers.take(held, messages, hub.now()))


async def test_old_targets_go_and_with_them_contents_nobody_refers_to(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT)
    for number in range(targets.KEPT + 5):
        await put(hub, instance(text=f"number-{number}"))
    count = "SELECT count(*), (SELECT count(*) FROM contents) FROM targets"
    assert await hub.store.read(lambda held: held.execute(count).fetchone()) == (targets.KEPT, targets.KEPT)
    row = await newest(hub)
    assert row is not None
    assert row.generation == targets.KEPT + 5


async def test_two_kinds_with_an_instance_of_one_name_eject_into_two_folders(hub: Hub) -> None:
    other = BLUEPRINT.replace("greeting", "parting").replace("Greeting", "Parting")
    await put(hub, BLUEPRINT, other, instance(), instance(kind="Parting", path="/etc/bye"))
    ejected = await ejection.eject_blueprints(hub, [])
    assert {path.split("/")[0] for path in ejected.files} == {"west", "Parting.west"}
