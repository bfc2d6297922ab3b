"""The objects shown in docs/blueprints.md are what a hub takes, and do what is said of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations import apply, instance_views, objects
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from holdfast_protocol.errors import InputError
from support.hubs import add_site, hub_at, put

pytestmark = pytest.mark.anyio

TEXT = (Path(__file__).resolve().parents[2] / "docs/blueprints.md").read_text()
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers: [{name: app, image: "%s", securityContext: {privileged: %s}}]
"""
FILE = """\
apiVersion: holdfast.io/v1alpha1
kind: File
metadata: {name: note}
spec: {path: "%s", content: ""}
"""


def shown(title: str) -> str:
    """Return the YAML of a section."""
    section = re.split(r"^## ", TEXT.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]
    (text,) = re.findall(r"^```yaml\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def manifest(hub: Hub, text: str) -> None:
    await apply.apply(hub, [SourceFile("it.yaml", text)], author="ann", words=Words(selector="*"), dry_run=True)


async def test_the_policies_shown_say_what_is_said_of_them(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, shown("Policies"))
    await manifest(hub, POD % ("bastion.example:5000/app:1", "false"))
    for path in ("/etc/plant/a", "/srv/b"):
        await manifest(hub, FILE % path)
    for text, rule in (
        (POD % ("bastion.example:5000/app:1", "true"), "not-privileged"),
        (POD % ("docker.io/app:1", "false"), "bastion-images"),
        (FILE % "/etc/passwd", "allowed-paths|files go below"),
    ):
        with pytest.raises(InputError, match=rule):
            await manifest(hub, text)


async def test_the_overlay_shown_is_accepted(hub: Hub) -> None:
    await add_site(hub, size="small")
    applied = await put(hub, shown("Overlays"))
    assert [each.action for each in applied.results] == ["created"]


KRO_POLICY = """\
apiVersion: kro.run/v1alpha1
kind: ResourceGraphDefinition
metadata: {name: policies}
spec:
  schema: {apiVersion: v1alpha1, kind: Policy, spec: {text: string}}
  resources:
    - id: note
      template: {apiVersion: v1, kind: ConfigMap, metadata: {name: note}, data: {text: "${schema.spec.text}"}}
---
apiVersion: kro.run/v1alpha1
kind: Policy
metadata: {name: ours}
spec: {text: hello}
"""


async def test_a_definition_of_kro_s_may_name_its_kind_as_one_of_ours(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, shown("Policies"))
    await put(hub, KRO_POLICY)
    found = {(each.kind, each.name) for each in await instance_views.list_instances(hub)}
    assert found == {("Policy", "ours")}
    assert [each.name for each in await objects.list_objects(hub, "Policy")] == ["containers", "paths"]


async def test_a_blueprint_may_not(hub: Hub) -> None:
    ours = KRO_POLICY.replace("kro.run", "holdfast.io").replace("ResourceGraphDefinition", "Blueprint")
    with pytest.raises(InputError, match="a kind of Holdfast's own"):
        await put(hub, ours)
