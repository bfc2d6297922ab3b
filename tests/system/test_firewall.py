"""Firewall against the real nftables, in a network of its own."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.providers.firewall.nft import Nft
from holdfast_edge.providers.firewall.provider import FirewallProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, ProviderError, UnsupportedError
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource
from support import private_network
from support.waiting import HANGS_S

pytestmark = [pytest.mark.anyio, pytest.mark.root]
NOTHING = Scope(resources={})
WAY = Way("10.9.0.2", 1883)
OTHERS = "table inet theirs { chain input { type filter hook input priority 5; policy accept; tcp dport 1 drop; }; }"
DROP = {"policy": {"input": "drop"}, "rules": [{"protocol": "tcp", "ports": [443], "from": ["10.0.0.0/8", "fd00::/8"]}]}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
RULESET = """\
set web { type inet_service; flags interval; elements = { 80, 8000-8010 }; }
set seen { type ipv4_addr; flags dynamic, timeout; timeout 1m; }
chain input {
  type filter hook input priority 0; policy drop;
  update @seen { ip saddr }
  counter
  tcp dport @web accept
}
chain marks { type filter hook prerouting priority -150; meta mark set 0x1; }
chain out { type nat hook postrouting priority 100; oifname "wan0" masquerade; }
"""


@pytest.fixture
def network() -> Iterator[None]:
    with private_network.entered():
        nft("-f", "-", text=OTHERS)
        yield


@pytest.fixture
def etc(tmp_path: Path, network: None) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def provider(etc: Path) -> FirewallProvider:
    return fresh(etc)


def fresh(etc: Path) -> FirewallProvider:
    return FirewallProvider(WAY, state=etc.with_name("state"), etc=etc)


def nft(*arguments: str, text: str = "") -> str:
    return subprocess.run(["nft", *arguments], input=text, check=True, capture_output=True, text=True).stdout


def firewall(name: str = "edge", /, **spec: Any) -> Resource:
    return target.resource({"apiVersion": "v1", "kind": "Firewall", "metadata": {"name": name}, "spec": spec})


def tables() -> list[str]:
    return [each["table"]["name"] for each in json.loads(nft("-j", "list", "tables"))["nftables"] if "table" in each]


async def look(provider: FirewallProvider, resource: Resource) -> Observed:
    return (await provider.observe([resource], NOTHING))[resource.key]


async def converge(provider: FirewallProvider, resource: Resource) -> Observed:
    provider.check(resource, NOTHING)
    await provider.apply(resource, NOTHING)
    seen = await look(provider, resource)
    assert seen.as_wanted, seen
    return seen


async def refused(provider: FirewallProvider, resource: Resource) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.apply(resource, NOTHING)
    return caught.value


def connects(port: int) -> bool:
    """Return whether a connection over loopback's second address comes about."""
    with socket.create_server(("127.0.0.2", port)), socket.socket() as client:
        client.settimeout(0.3)
        return client.connect_ex(("127.0.0.2", port)) == 0


async def test_a_table_is_loaded_changed_and_removed_and_no_other_is_touched(
    provider: FirewallProvider, etc: Path
) -> None:
    theirs = nft("-a", "list", "table", "inet", "theirs")
    resource = firewall(**DROP)
    assert not (await look(provider, resource)).exists
    seen = await converge(provider, resource)
    assert "10.9.0.2 port 1883 stay open" in seen.message
    assert tables() == ["theirs", "holdfast_edge"]
    await converge(provider, firewall(ruleset=RULESET))
    assert "8000-8010" in nft("list", "table", "inet", "holdfast_edge")
    provider = fresh(etc)
    assert (await look(provider, firewall(ruleset=RULESET))).as_wanted, "a restart is no difference"
    await provider.remove(resource.key, resource.body)
    await provider.remove(resource.key, resource.body)
    assert tables() == ["theirs"]
    assert nft("-a", "list", "table", "inet", "theirs") == theirs
    assert list(etc.iterdir()) == []


@pytest.mark.parametrize(
    "edit",
    [
        "add rule inet holdfast_edge input tcp dport 23 accept",
        "insert rule inet holdfast_edge input accept",
        "flush chain inet holdfast_edge input",
        "add element inet holdfast_edge web { 23 }",
        "delete element inet holdfast_edge web { 80 }",
        "add chain inet holdfast_edge input { policy accept; }",
        "add chain inet holdfast_edge more { type filter hook output priority 0; }",
        "add set inet holdfast_edge more { type ipv4_addr; }",
        "table inet holdfast_edge { flags dormant; }",
        "delete table inet holdfast_edge",
        "flush ruleset",
    ],
)
async def test_every_edit_by_hand_is_seen_and_undone(provider: FirewallProvider, edit: str) -> None:
    resource = firewall(ruleset=RULESET)
    await converge(provider, resource)
    before = nft("-s", "list", "table", "inet", "holdfast_edge")
    nft("-f", "-", text=edit)
    assert len((await look(provider, resource)).differences) == 1
    await converge(provider, resource)
    assert nft("-s", "list", "table", "inet", "holdfast_edge") == before


async def test_a_change_of_the_table_or_its_file_wakes_and_others_do_not(provider: FirewallProvider, etc: Path) -> None:
    await converge(provider, firewall(**DROP))
    wakes: list[float] = []
    file = etc / "nftables.d/holdfast-edge.nft"
    changes: list[Callable[[], object]] = [
        lambda: nft("add rule inet holdfast_edge input tcp dport 23 accept"),
        lambda: nft("delete table inet holdfast_edge"),
        lambda: file.write_text("edited\n"),
    ]
    async with anyio.create_task_group() as group:
        group.start_soon(provider.run_watch, lambda: wakes.append(time.monotonic()))
        with anyio.fail_after(HANGS_S):
            while not wakes:  # of the watch of the file being set; the socket is open before
                await anyio.sleep(0.01)
        nft("add rule inet theirs input tcp dport 23 accept")
        await anyio.sleep(0.1)
        assert len(wakes) == 1
        for change in changes:
            already, began = len(wakes), time.monotonic()
            await anyio.to_thread.run_sync(change)
            with anyio.fail_after(HANGS_S):
                while len(wakes) == already:
                    await anyio.sleep(0.01)
            assert wakes[already] - began < 1
        group.cancel_scope.cancel()


@pytest.mark.invariant("agent-is-never-its-own-casualty")
async def test_a_table_that_drops_everything_leaves_loopback_open(provider: FirewallProvider) -> None:
    all_dropped = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; drop; }}\n" for hook in HOOKS
    )
    await converge(provider, firewall(ruleset=all_dropped))
    assert connects(7001)
    nft("-f", "-", text="insert rule inet holdfast_edge input tcp dport 7001 drop")
    assert not connects(7001), "the table decides"


@pytest.mark.parametrize(
    "ruleset",
    [
        "chain a { type filter hook input priority 0; nonsense }",
        "chain a { tcp dport 1 jump nowhere }",
        "set a { type ipv4_addr; elements = { 1.2.3.4 } } chain b { tcp dport @a accept }",
        "map a { type ipv4_addr : verdict; elements = { 1.2.3.4 : jump nowhere } }",
    ],
)
async def test_a_ruleset_nft_refuses_is_said_and_the_last_one_stays(provider: FirewallProvider, ruleset: str) -> None:
    await converge(provider, firewall(**DROP))
    before = nft("-a", "list", "ruleset")
    error = await refused(provider, firewall(ruleset=ruleset))
    assert (type(error), error.reason) == (PermanentError, "RulesetRefused")
    assert error.message.startswith("nft: ")
    assert nft("-a", "list", "ruleset") == before
    assert (await look(provider, firewall(**DROP))).as_wanted, "its file was changed"


async def test_an_interface_that_is_not_there_yet_is_waited_for(provider: FirewallProvider) -> None:
    rules = 'chain a { type filter hook input priority 0; iif "later0" accept; }'
    assert (await refused(provider, firewall(ruleset=rules))).reason == "NoInterface"


async def test_without_nft_or_the_right_to_use_it_the_kind_is_not_for_this_machine(etc: Path) -> None:
    (etc / "nft").write_text(
        "#!/bin/sh\necho 'netlink: Error: cache initialization failed: Operation not permitted' >&2\nexit 1\n"
    )
    for path, reason in ((str(etc / "none"), "NoNftables"), (str(etc), "NotPermitted")):
        (etc / "nft").chmod(0o755)
        provider = FirewallProvider(WAY, state=etc.with_name("state"), etc=etc, nft=Nft(path))
        error = await refused(provider, firewall(**DROP))
        assert (type(error), error.reason) == (UnsupportedError, reason)
        assert (await look(provider, firewall(**DROP))).reason == reason


async def test_the_file_kept_loads_the_same_table_without_the_agent(provider: FirewallProvider, etc: Path) -> None:
    resource = firewall(ruleset=RULESET)
    await converge(provider, resource)
    nft("flush", "ruleset")
    nft("-f", str(etc / "nftables.d/holdfast-edge.nft"))
    assert (await look(provider, resource)).as_wanted
