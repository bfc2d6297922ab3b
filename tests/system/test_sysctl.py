"""Sysctl against the real kernel, with the settings of a network of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.port import Observed, Scope
from holdfast_edge.providers.sysctl.provider import SysctlProvider
from holdfast_protocol.errors import PermanentError, ProviderError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource
from support import private_network
from support.waiting import HANGS_S

pytestmark = [pytest.mark.anyio, pytest.mark.root]
NOTHING = Scope(resources={})
REDIRECTS = "net.ipv4.conf.all.secure_redirects"
PORTS = "net.ipv4.ip_local_port_range"
LIVE = {name: Path("/proc/sys", name.replace(".", "/")) for name in (REDIRECTS, PORTS)}
FILE = "sysctl.d/90-holdfast-s.conf"


@pytest.fixture
def network() -> Iterator[None]:
    with private_network.entered():
        yield


@pytest.fixture
def etc(tmp_path: Path, network: None) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def provider(etc: Path) -> SysctlProvider:
    return fresh(etc)


def fresh(etc: Path) -> SysctlProvider:
    return SysctlProvider(state=etc.with_name("state"), etc=etc)


def sysctl(name: str = "s", /, **settings: Any) -> Resource:
    body = {
        "apiVersion": "v1",
        "kind": "Sysctl",
        "metadata": {"name": name},
        "spec": {"settings": {key.replace("__", "."): value for key, value in settings.items()}},
    }
    return target.resource(body)


def live(name: str) -> str:
    return " ".join(LIVE[name].read_text().split())


async def look(provider: SysctlProvider, resource: Resource) -> Observed:
    return (await provider.observe([resource], NOTHING))[resource.key]


async def converge(provider: SysctlProvider, resource: Resource, scope: Scope = NOTHING) -> None:
    provider.check(resource, scope)
    await provider.apply(resource, scope)
    seen = await look(provider, resource)
    assert seen.as_wanted, seen


async def refused(provider: SysctlProvider, resource: Resource, scope: Scope = NOTHING) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.apply(resource, scope)
    return caught.value


async def test_settings_hold_now_and_at_boot_are_repaired_changed_and_given_back(
    provider: SysctlProvider, etc: Path
) -> None:
    before = live(REDIRECTS), live(PORTS)
    resource = sysctl(**{REDIRECTS: 0, PORTS: "20000   30000"})
    assert not (await look(provider, resource)).exists
    await converge(provider, resource)
    assert (live(REDIRECTS), live(PORTS)) == ("0", "20000 30000")
    assert (etc / FILE).read_text().splitlines()[1:] == [f"{REDIRECTS} = 0", f"{PORTS} = 20000 30000"]
    LIVE[REDIRECTS].write_text("1\n")
    (etc / FILE).unlink()
    assert (await look(provider, resource)).differences == (
        "file: nothing is there",
        f"{REDIRECTS}: is '1', wanted '0'",
    )
    await converge(provider, resource)
    provider = fresh(etc)
    await converge(provider, sysctl(**{PORTS: "20000 40000"}))
    assert live(REDIRECTS) == before[0], "a key that is no longer wanted was not given back"
    await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    assert (live(REDIRECTS), live(PORTS)) == before
    assert list(etc.iterdir()) == []


async def test_a_kill_between_the_ledger_and_the_kernel_loses_no_earlier_value(
    provider: SysctlProvider, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live(REDIRECTS)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    resource = sysctl(**{REDIRECTS: 0})
    with monkeypatch.context() as patch:
        patch.setattr(provider._live, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            provider._apply(resource, NOTHING)
    LIVE[REDIRECTS].write_text("0\n")  # the write that was under way
    provider = fresh(etc)
    await converge(provider, resource)
    await provider.remove(resource.key, resource.body)
    assert live(REDIRECTS) == before


async def test_a_key_a_kill_kept_from_being_given_back_is_seen_and_given_back(
    provider: SysctlProvider, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live(REDIRECTS)
    await converge(provider, sysctl(**{REDIRECTS: 0, PORTS: "20000 30000"}))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    fewer = sysctl(**{PORTS: "20000 30000"})
    with monkeypatch.context() as patch:
        patch.setattr(provider, "_give_back", killed)
        with pytest.raises(KeyboardInterrupt):
            provider._apply(fewer, NOTHING)
    provider = fresh(etc)
    assert (await look(provider, fewer)).differences == (f"{REDIRECTS}: is not given back",)
    await converge(provider, fewer)
    assert live(REDIRECTS) == before


async def test_what_the_kernel_refuses_is_said_with_its_key_and_changes_nothing(
    provider: SysctlProvider, etc: Path
) -> None:
    before = live(REDIRECTS)
    for settings, reason in (
        ({REDIRECTS: 0, "net.ipv4.no_such_key": 1}, "UnknownKey"),
        ({REDIRECTS: 0, "net.ipv4.conf": 1}, "UnknownKey"),
        ({REDIRECTS: 0, "net.ipv4.route.flush": 1}, "NotReadable"),
        ({REDIRECTS: 0, "kernel.osrelease": "1"}, "NotPermitted"),
    ):
        error = await refused(provider, sysctl(**settings))
        assert (type(error), error.reason) == (PermanentError, reason)
        assert list(settings)[1] in error.message
        assert (await look(provider, sysctl(**settings))).as_wanted is False
    assert live(REDIRECTS) == before
    assert list(etc.iterdir()) == []
    assert (await refused(provider, sysctl(**{PORTS: "many"}))).reason == "InvalidValue"
    assert (await refused(provider, sysctl(**{REDIRECTS: "01"}))).reason == "NotTaken"
    await provider.remove(sysctl().key, {})
    assert live(REDIRECTS) == before


async def test_a_key_of_two_resources_is_refused_and_moves_with_the_value_from_before(
    provider: SysctlProvider, etc: Path
) -> None:
    before = live(REDIRECTS)
    one, two = sysctl("one", **{REDIRECTS: 0, PORTS: "20000 30000"}), sysctl("two", **{REDIRECTS: 0})
    await converge(provider, one)
    both = Scope(resources={one.key: one, two.key: two})
    assert (await refused(provider, two, both)).reason == "KeyTaken"
    less = sysctl("one", **{PORTS: "20000 30000"})
    moved = Scope(resources={less.key: less, two.key: two})
    await converge(provider, two, moved)
    await converge(provider, less, moved)
    assert live(REDIRECTS) == "0"
    await provider.remove(two.key, two.body)
    assert live(REDIRECTS) == before


@pytest.mark.parametrize("name", ["../x", "a.b", "A", ""])
async def test_a_name_that_is_no_file_s_is_refused(provider: SysctlProvider, name: str) -> None:
    with pytest.raises(PermanentError) as caught:
        provider.check(sysctl(name, **{REDIRECTS: 0}), NOTHING)
    assert caught.value.reason == "BadName"


async def test_an_edited_file_wakes(provider: SysctlProvider, etc: Path) -> None:
    await converge(provider, sysctl(**{REDIRECTS: 0}))
    woken = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, lambda: woken.set())
        with anyio.fail_after(HANGS_S):
            await woken.wait()  # of the watch being set
            woken = anyio.Event()
            (etc / FILE).write_text("edited\n")
            await woken.wait()
        group.cancel_scope.cancel()
