"""Trying again and drift policies, at the hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import sites
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.site_views import show_site
from holdfast_hub.store import sites as rows
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError
from holdfast_protocol.wire.drift import Rule
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, hub_at, instance, newest, put

pytestmark = pytest.mark.anyio
POLICY = """\
apiVersion: holdfast.io/v1alpha1
kind: DriftPolicy
metadata: {{name: quiet}}
spec:
  mode: {mode}
  resources: ["File/*"]
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


async def test_a_retry_says_the_same_again_as_a_new_generation_and_is_audited(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance())
    before = await newest(hub)
    await sites.retry_site(hub, SITE, author="ann")
    after = await newest(hub)
    assert before is not None
    assert after is not None
    assert (after.generation, after.digest, after.published) == (before.generation + 1, before.digest, False)
    assert any(event.action == "retry" for event in (await show_site(hub, SITE))["history"])


async def test_what_cannot_be_tried_again_is_said_why(hub: Hub) -> None:
    with pytest.raises(NotFoundError):
        await sites.retry_site(hub, "nowhere", author="ann")
    await add_site(hub)
    with pytest.raises(NotFoundError, match="no target yet"):
        await sites.retry_site(hub, SITE, author="ann")
    await put(hub, BLUEPRINT, instance())
    await hub.store.write(lambda connection: rows.mark_conflict(connection, SITE, (1, 99), "x"))
    with pytest.raises(ConflictError, match="ahead"):
        await sites.retry_site(hub, SITE, author="ann")


async def test_a_drift_policy_travels_in_the_targets_of_its_sites(hub: Hub) -> None:
    await add_site(hub)
    await put(hub, BLUEPRINT, instance(), POLICY.format(mode="report"))
    told = await content(hub)
    assert told.drift == (Rule("quiet", "report", ("File/*",)),)
    assert "drift/v1" in told.requires


async def test_a_drift_policy_that_is_wrong_is_refused_with_its_place(hub: Hub) -> None:
    with pytest.raises(InputError) as refused:
        await put(hub, POLICY.format(mode="sometimes"))
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("spec.mode", 5)


async def test_an_annotation_that_says_nothing_known_is_refused(hub: Hub) -> None:
    await add_site(hub)
    name = "name: ${schema.metadata.name}\n"
    annotated = BLUEPRINT.replace(name, name + "          annotations: {holdfast.io/drift: sometimes}\n")
    with pytest.raises(
        InputError, match=r"metadata.annotations\[holdfast.io/drift\] must be correct, report or ignore"
    ):
        await put(hub, annotated, instance())
