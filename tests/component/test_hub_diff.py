"""Differences before they are made: by groups of sites, with secrets hidden, restarts and images told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations import apply, diff
from holdfast_hub.operations.diff import Difference
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, files, hub_at, instance, put

pytestmark = pytest.mark.anyio

MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.example/web:1
          envFrom: [{secretRef: {name: web}}]
---
apiVersion: v1
kind: Secret
metadata:
  name: web
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "swordfish"}
stringData: {password: swordfish, user: gerda}
data: {key: c3dvcmRmaXNo}
"""
POLICY = """\
apiVersion: holdfast.io/v1alpha1
kind: Policy
metadata: {name: any}
spec: {rules: [{expression: "true"}]}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


def web(text: str = MANIFESTS) -> list[SourceFile]:
    return [SourceFile("web.yaml", text)]


async def difference(hub: Hub, text: str = MANIFESTS) -> Difference:
    return await diff.diff(hub, web(text), author="ann", words=Words(selector="*"))


async def test_sites_with_the_same_change_are_one_group(hub: Hub) -> None:
    for number in range(3):
        await add_site(hub, f"press-{number}", zone="west")
    await add_site(hub, "saw-1", zone="east")
    await put(hub, BLUEPRINT, instance(), instance("east", zone="east"))
    found = await diff.diff(hub, files(BLUEPRINT.replace('"hello"', '"bye"')), author="ann")
    assert [group.sites for group in found.groups] == [["press-0", "press-1", "press-2"], ["saw-1"]]
    assert [group.changed for group in found.groups] == [["File/west"], ["File/east"]]


async def test_sites_that_start_from_different_things_but_change_alike_are_one_group(hub: Hub) -> None:
    await add_site(hub, "press-1", zone="west")
    await add_site(hub, "press-2", zone="west", extra="yes")
    extra = instance("extra", path="/etc/extra").replace(
        "fieldSelector:", "labelSelector: {matchLabels: {extra: 'yes'}}\n    fieldSelector:"
    )
    await put(hub, BLUEPRINT, instance(), extra)
    found = await diff.diff(hub, files(instance(text="other")), author="ann")
    assert [group.sites for group in found.groups] == [["press-1", "press-2"]]


async def test_restarts_and_images_are_told_with_their_reasons(hub: Hub) -> None:
    await add_site(hub)
    await apply.apply(hub, web(), author="ann", words=Words(selector="*"))
    (group,) = (await difference(hub, MANIFESTS.replace("web:1", "web:2"))).groups
    assert [(each.what, each.why) for each in group.restarts] == [("Deployment/web", ("container web: image",))]
    assert group.images == ["registry.example/web:2"]
    (group,) = (await difference(hub, MANIFESTS.replace("user: gerda", "user: bob"))).groups
    assert [(each.what, each.why) for each in group.restarts] == [("Deployment/web", ("Secret/web",))]
    assert group.images == []


async def test_nothing_of_a_secret_is_ever_shown(hub: Hub) -> None:
    await add_site(hub)
    first = (await difference(hub)).groups[0].diff
    await apply.apply(hub, web(), author="ann", words=Words(selector="*"))
    changed = MANIFESTS.replace("password: swordfish", "password: haddock").replace('"swordfish"', '"haddock"')
    second = (await difference(hub, changed)).groups[0].diff
    gone = (await difference(hub, MANIFESTS.partition("stringData")[0] + "data: {}\n")).groups[0].diff
    for text in (first, second, gone):
        assert not [word for word in ("swordfish", "haddock", "c3dvcmRmaXNo", "gerda") if word in text]
    assert "-  password: (hidden)\n+  password: (hidden, changed)" in second
    assert "user: (hidden)" in second
    assert "-  user" not in second


async def test_what_is_no_resource_is_shown_too_and_the_same_is_the_same(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    found = await diff.diff(hub, files(POLICY), author="ann")
    (group,) = found.groups
    assert (group.sites, group.restarts, group.images) == ([SITE], [], [])
    assert "+++ b/policies" in group.diff
    await put(hub, POLICY)
    assert (await diff.diff(hub, files(POLICY, BLUEPRINT), author="ann")).same
