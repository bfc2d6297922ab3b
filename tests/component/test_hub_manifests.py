"""Plain Kubernetes manifests on a real hub: applied, changed, moved and taken away like any instance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations import apply, diff, instance_views, render
from holdfast_hub.operations.apply import Applied
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from holdfast_protocol.errors import InputError
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, hub_at

pytestmark = pytest.mark.anyio

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.example/web:1
          command: [sh, -c, "echo ${HOME}"]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data: {a: "1"}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def manifests(hub: Hub, text: str = DEPLOYMENT, file: str = "web.yaml", **words: str) -> Applied:
    return await apply.apply(hub, [SourceFile(file, text)], author="ann", words=Words(**words))


async def test_manifests_reach_the_sites_they_are_for(hub: Hub) -> None:
    await add_site(hub, zone_label="w")
    await add_site(hub, "press-02", zone="east")
    applied = await manifests(hub, selector="zone_label=w")
    assert applied.sites == [SITE]
    assert [(each.kind, each.name, each.action) for each in applied.results] == [
        ("Blueprint", "web", "created"),
        ("WebManifests", "web", "created"),
    ]
    told = await content(hub)
    assert [each.key for each in told.resources] == ["Deployment/web", "ConfigMap/web"]
    assert told.resources[0].spec["template"]["spec"]["containers"][0]["command"][2] == "echo ${HOME}"


async def test_applying_them_again_changes_nothing_and_elsewhere_moves_them(hub: Hub) -> None:
    await add_site(hub, one="1")
    await add_site(hub, "press-02", two="2")
    await manifests(hub, selector="one")
    again = await manifests(hub, selector="one")
    assert ({each.action for each in again.results}, again.audit) == ({"unchanged"}, 0)
    moved = await manifests(hub, selector="two")
    assert ([each.action for each in moved.results], moved.sites) == (["unchanged", "changed"], [SITE, "press-02"])


async def test_a_change_is_a_new_revision_and_a_difference_first(hub: Hub) -> None:
    await add_site(hub)
    await manifests(hub, selector="*")
    changed = DEPLOYMENT.replace("web:1", "web:2")
    found = await diff.diff(hub, [SourceFile("web.yaml", changed)], author="ann", words=Words(selector="*"))
    assert found.groups[0].changed == ["Deployment/web"]
    applied = await manifests(hub, changed, selector="*")
    assert applied.results[0].revision == 2
    shown = await render.render(hub, [], instance="web")
    assert len(shown.resources) == 2


async def test_deleting_the_instance_leaves_nothing_behind(hub: Hub) -> None:
    await add_site(hub)
    await manifests(hub, selector="*")
    await apply.delete_instance(hub, "web", author="ann")
    assert (await content(hub)).resources == ()
    assert await instance_views.list_blueprints(hub) == []
    assert (await manifests(hub, selector="*")).results[0].revision == 2


async def test_a_mistake_in_one_keeps_all_out_with_its_place(hub: Hub) -> None:
    bad = DEPLOYMENT.replace("name: web\ndata", "name: Web_1\ndata")
    with pytest.raises(InputError) as caught:
        await manifests(hub, bad, selector="*")
    assert [(each.file, each.line) for each in caught.value.problems] == [("web.yaml", 18)]
    assert await instance_views.list_blueprints(hub) == []


async def test_without_a_placement_they_are_refused_saying_what_to_do(hub: Hub) -> None:
    with pytest.raises(InputError) as caught:
        await manifests(hub)
    (problem,) = caught.value.problems
    assert "--selector" in problem.hint


async def test_manifests_stand_beside_blueprints_and_never_replace_one(hub: Hub) -> None:
    applied = await manifests(hub, f"{BLUEPRINT}---\n{DEPLOYMENT}", selector="*")
    assert [each.name for each in applied.results] == ["greeting", "web", "web"]
    with pytest.raises(InputError, match="breaking change"):
        await manifests(hub, file="greeting.yaml", selector="*")


async def test_words_for_manifests_that_are_not_there_or_of_two_files_are_refused(hub: Hub) -> None:
    with pytest.raises(InputError, match="there is none"):
        await manifests(hub, BLUEPRINT, selector="*")
    two = [SourceFile(name, DEPLOYMENT) for name in ("a.yaml", "b.yaml")]
    with pytest.raises(InputError, match="one file"):
        await apply.apply(hub, two, author="ann", words=Words(name="x", selector="*"))
