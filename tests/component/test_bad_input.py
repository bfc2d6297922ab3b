"""One thing wrong among many: nothing is stored, no target moves, and the answer names it in its file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast_hub.operations import apply, diff, render
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.errors import InputError
from support.hubs import BLUEPRINT, add_site, files, hub_at, instance, newest, put

pytestmark = pytest.mark.anyio

BAD = {
    "a spec no site takes": instance("bad", path="relative"),
    "a value of the wrong type": instance("bad", text="[1]"),
    "an alias": instance("bad").replace("  placement:", "  text: &a x\n  path: *a\n  placement:"),
    "a second document that ends early": instance("bad") + "---\nkind: [",
    "a blueprint whose template is wrong": BLUEPRINT.replace("greeting", "other").replace("Greeting", "Other")
    + "          mode: '99'\n---\n"
    + instance("bad", kind="Other"),
    "an expression without end": BLUEPRINT.replace("greeting", "other")
    .replace("Greeting", "Other")
    .replace(
        "${schema.spec.text}", "${lists.range(9000).map(i, schema.spec.text).join('x'.replace('', schema.spec.text))}"
    )
    + "---\n"
    + instance("bad", kind="Other", text='"' + "y" * 30_000 + '"'),
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    with hub_at(tmp_path) as made:
        await made.load()
        await add_site(made)
        yield made


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_nothing_is_half_published(hub: Hub, bad: str) -> None:
    await put(hub, BLUEPRINT, instance("good"))
    before, feed = await newest(hub), dict(hub.fleet.instances)
    many = files(BLUEPRINT.replace("hello", "changed"), instance("good", text="changed"), bad)
    with pytest.raises(InputError) as refused:
        await apply.apply(hub, many, author="ann")
    assert {each.file for each in refused.value.problems} == {"file-3.yaml"}
    assert all(each.line for each in refused.value.problems)
    assert await newest(hub) == before
    assert hub.fleet.instances == feed
    assert set(hub.fleet.blueprints) == {"greeting"}


@pytest.mark.parametrize("bad", [BAD["a spec no site takes"]])
async def test_rendering_and_comparing_say_what_applying_would(hub: Hub, bad: str) -> None:
    said = []
    for act in (
        apply.apply(hub, files(BLUEPRINT, bad), author="ann"),
        diff.diff(hub, files(BLUEPRINT, bad), author="ann"),
        render.render(hub, files(BLUEPRINT, bad), author="ann"),
    ):
        with pytest.raises(InputError) as refused:
            await act
        said.append(refused.value.problems)
    assert said[0] == said[1] == said[2]
    assert [(each.path, each.file) for each in said[0]] == [("spec.path", "file-2.yaml")]
