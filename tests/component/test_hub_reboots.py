"""Restarts asked for at a real hub: said in the targets of the sites, audited, and taken out when they are over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.operations import reboots, site_views
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError
from holdfast_protocol.wire.reboots import FEATURE
from support.builders import SITE
from support.hubs import BLUEPRINT, add_site, content, hub_at, instance, put

pytestmark = pytest.mark.anyio
POLICY = """\
apiVersion: holdfast.io/v1alpha1
kind: RebootPolicy
metadata: {name: nightly}
spec: {when: always-after, after: [KernelModule/*], grace: 2m}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path) as made:
        yield made


@pytest.fixture
async def fleet(hub: Hub) -> Hub:
    await add_site(hub)
    await add_site(hub, "press-02", zone="east")
    await put(hub, BLUEPRINT, instance(), instance("east", zone="east", path="/etc/east"))
    return hub


async def test_a_request_reaches_its_site_alone_and_is_audited(fleet: Hub) -> None:
    (made,) = await reboots.request_reboots(fleet, [SITE, SITE], reason=" new disks ", seconds=3600, author="ann")
    told = await content(fleet)
    (carried,) = told.reboot_requests
    assert (carried.name, carried.reason, carried.by, carried.seconds) == (made.name, "new disks", "ann", 3600)
    assert FEATURE in told.requires
    assert (await content(fleet, "press-02")).reboot_requests == ()
    shown = await site_views.show_site(fleet, SITE)
    assert f"RebootRequest/{made.name}" in shown["objects"]


async def test_requests_long_over_are_taken_out_with_the_next(fleet: Hub) -> None:
    (old,) = await reboots.request_reboots(fleet, [SITE], reason="x", seconds=1, author="ann")
    fleet.clock.set_wall(fleet.clock.wall() + 7200)  # type: ignore[attr-defined]
    (new,) = await reboots.request_reboots(fleet, [SITE], reason="y", seconds=60, author="ann")
    assert [each.name for each in (await content(fleet)).reboot_requests] == [new.name]
    assert old.name != new.name


async def test_what_cannot_be_is_refused_before_anything_is_written(fleet: Hub) -> None:
    with pytest.raises(InputError):
        await reboots.request_reboots(fleet, [SITE], reason="", seconds=0, author="ann")
    with pytest.raises(NotFoundError):
        await reboots.request_reboots(fleet, ["nowhere"], reason="x", seconds=60, author="ann")
    await add_site(fleet, "bare", zone="north")
    with pytest.raises(ConflictError, match="no target"):
        await reboots.request_reboots(fleet, [SITE, "bare"], reason="x", seconds=60, author="ann")
    assert (await content(fleet)).reboot_requests == ()


async def test_a_policy_is_said_in_targets_and_policy_and_request_need_one_feature(fleet: Hub) -> None:
    await put(fleet, POLICY)
    await reboots.request_reboots(fleet, [SITE], reason="x", seconds=60, author="ann")
    told = await content(fleet)
    (policy,) = told.reboot_policies
    assert (policy.when, policy.after, policy.grace) == ("always-after", ("KernelModule/*",), 120)
    assert told.requires.count(FEATURE) == 1
