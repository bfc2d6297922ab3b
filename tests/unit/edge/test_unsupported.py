"""A kind this machine cannot do is refused with the reason, and everything else goes on."""

from pathlib import Path

import pytest

from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.systemd.home import find_home
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.wire import target

NOTHING = Scope(resources={})
RESOURCE = target.resource({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})


@pytest.mark.anyio
async def test_every_call_says_why() -> None:
    provider = UnsupportedProvider(("Pod",), "no container engine", reason="NoEngine", hint="install one")
    with pytest.raises(UnsupportedError, match="no container engine") as caught:
        provider.check(RESOURCE, NOTHING)
    assert (caught.value.reason, caught.value.hint) == ("NoEngine", "install one")
    with pytest.raises(UnsupportedError):
        await provider.apply(RESOURCE, NOTHING)
    with pytest.raises(UnsupportedError):
        await provider.remove(RESOURCE.key, RESOURCE.body)
    seen = (await provider.observe([RESOURCE], NOTHING))[RESOURCE.key]
    assert (seen.as_wanted, seen.readiness, seen.reason) == (False, "degraded", "NoEngine")
    await provider.run_watch(lambda: None)


def test_a_user_s_systemd_is_found_by_the_environment() -> None:
    home = find_home("user", {"XDG_RUNTIME_DIR": "/nowhere/run", "HOME": "/nowhere/home"})
    assert home.address == "unix:path=/nowhere/run/bus"
    assert home.units == Path("/nowhere/home/.config/systemd/user")


def test_without_systemd_the_reason_is_said() -> None:
    with pytest.raises(UnsupportedError, match="XDG_RUNTIME_DIR") as caught:
        find_home("user", {})
    assert caught.value.reason == "NoSystemd"
    with pytest.raises(UnsupportedError, match="switched off"):
        find_home("", {})
