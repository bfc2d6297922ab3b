"""Watches begin with their providers, whenever these are made."""

from pathlib import Path

import pytest

from holdfast_edge.providers.registry import Offer, Registry
from holdfast_edge.reconcile.watches import run_watches
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.wire.names import ResourceKey
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite

pytestmark = pytest.mark.anyio


async def test_a_provider_is_watched_with_from_when_it_is_made_and_one_that_is_not_needed_never_is(
    tmp_path: Path,
) -> None:
    it = TestSite(tmp_path)
    early, late, never = FakeProvider("File"), FakeProvider("Sysctl"), FakeProvider("Package")
    offers = [Offer(("Sysctl",), lambda: late), Offer(("Package",), lambda: never)]
    registry = Registry([early], offers=offers)
    try:
        async with Running(lambda: run_watches(it.site, registry)):
            await eventually(lambda: bool(early.wakes))
            assert registry.provider(ResourceKey("Sysctl/x")) is late
            await eventually(lambda: bool(late.wakes))
            assert [len(each.wakes) for each in (early, late, never)] == [1, 1, 0]
            assert registry.providers == [early, late]
    finally:
        it.close()


async def test_a_provider_this_machine_has_no_ground_for_says_so_for_all_its_kinds() -> None:
    def none() -> FakeProvider:
        raise UnsupportedError("no systemd here", reason="NoSystemd", hint="boot with it")

    registry = Registry((), offers=[Offer(("SystemdService", "SystemdTimer"), none)])
    made = registry.provider(ResourceKey("SystemdTimer/x"))
    assert made.kinds == ("SystemdService", "SystemdTimer")
    assert registry.provider(ResourceKey("SystemdService/x")) is made
    with pytest.raises(UnsupportedError, match="no systemd here"):
        await made.remove(ResourceKey("SystemdTimer/x"), {})
