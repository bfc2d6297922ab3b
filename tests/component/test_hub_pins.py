"""Pins: an instance that keeps a revision of its blueprint while the blueprint goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, ejection, instance_views
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.errors import ConflictError, InputError
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, files, hub_at, instance, newest, put

pytestmark = pytest.mark.anyio

SECOND = BLUEPRINT.replace('default="hello"', 'default="second"')
THIRD = BLUEPRINT.replace('default="hello"', 'default="third"')


def pinned(revision: str = '"1"', name: str = "west", **values: str) -> str:
    annotations = f"  annotations: {{holdfast.io/blueprint-revision: {revision}}}\n"
    return instance(name, **values).replace("spec:\n", f"{annotations}spec:\n", 1)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


@pytest.fixture
async def fleet(hub: Hub) -> Hub:
    """A blueprint of two revisions, an instance that keeps the first and one that follows."""
    await add_site(hub)
    await put(hub, BLUEPRINT, pinned(), instance("other", path="/etc/other"))
    await put(hub, SECOND)
    return hub


async def texts(hub: Hub) -> dict[str, str]:
    return {each.name: each.spec["content"] for each in (await content(hub)).resources}


async def test_a_pinned_instance_keeps_its_revision_when_the_blueprint_moves(fleet: Hub) -> None:
    assert await texts(fleet) == {"west": "hello", "other": "second"}
    told = {each.name: each.revision for each in (await content(fleet)).resources}
    assert told == {"west": 1, "other": 2}


async def test_what_is_pinned_and_what_is_newest_are_shown(fleet: Hub) -> None:
    items = {
        each.name: (each.revision, each.newest, each.pinned) for each in await instance_views.list_instances(fleet)
    }
    assert items == {"west": (1, 2, True), "other": (2, 2, False)}
    shown = await instance_views.show_instance(fleet, "west")
    assert (shown["revision"], shown["newest"], shown["pinned"]) == (1, 2, True)


async def test_a_changed_instance_is_rendered_from_the_revision_it_keeps(fleet: Hub) -> None:
    await put(fleet, pinned(path="/etc/moved"))
    assert await texts(fleet) == {"west": "hello", "other": "second"}
    await put(fleet, instance(path="/etc/moved"))
    assert (await texts(fleet))["west"] == "second", "without the pin it follows again"


async def test_an_instance_may_be_pinned_back_and_to_a_revision_of_the_same_change(fleet: Hub) -> None:
    await put(fleet, THIRD, pinned('"3"'))
    assert (await texts(fleet))["west"] == "third"
    await put(fleet, pinned('"2"'))
    assert (await texts(fleet))["west"] == "second"


@pytest.mark.parametrize("revision", ['"9"', '"0"', '"x"', "1", '"01"'])
async def test_a_pin_of_a_revision_there_is_not_is_refused_at_its_place(fleet: Hub, revision: str) -> None:
    before = await newest(fleet)
    with pytest.raises(InputError) as caught:
        await put(fleet, pinned(revision))
    assert all(each.path.startswith("metadata.annotations") for each in caught.value.problems)
    assert caught.value.problems[0].line == 5
    assert await newest(fleet) == before


async def test_a_revision_of_another_kind_cannot_be_kept(hub: Hub) -> None:
    await put(hub, BLUEPRINT.replace("kind: Greeting", "kind: Old"))
    await apply.apply(hub, files(BLUEPRINT), author="ann", force=True)
    with pytest.raises(InputError, match="no revision 1 of kind Greeting"):
        await put(hub, pinned())


async def test_a_forced_breaking_change_passes_by_what_is_pinned(fleet: Hub) -> None:
    await apply.delete_instance(fleet, "other", author="ann")
    broken = SECOND.replace("      text: string", "      words: string").replace("spec.text", "spec.words")
    await put(fleet, pinned(text="mine"))
    await apply.apply(fleet, files(broken), author="ann", force=True)
    assert await texts(fleet) == {"west": "mine"}
    with pytest.raises(InputError, match="unknown field 'text'"):
        await put(fleet, instance(text="mine"))


async def test_eject_and_render_use_the_revision_kept(fleet: Hub) -> None:
    ejected = await ejection.eject_blueprints(fleet, [])
    assert ejected.files["west/files/etc/motd"] == "hello"
    assert ejected.files["other/files/etc/other"] == "second"
    given = await ejection.eject_blueprints(fleet, files(pinned(path="/etc/new")))
    assert given.files["west/files/etc/new"] == "hello"


async def test_pins_hold_over_a_restart_and_a_blueprint_with_a_pinned_instance_stays(
    fleet: Hub, tmp_path: Path
) -> None:
    with hub_at(tmp_path) as again:
        await again.load()
        await put(again, THIRD)
        assert await texts(again) == {"west": "hello", "other": "third"}
        with pytest.raises(ConflictError):
            await apply.delete_blueprint(again, "greeting", author="ann")
        assert again.fleet.owners(again.fleet.site(SITE).row.name) == ("Greeting/other", "Greeting/west")
