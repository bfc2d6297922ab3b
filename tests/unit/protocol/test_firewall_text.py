"""A Firewall's spec becomes a table of its own, and nothing a spec can say leads out of it."""

from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import firewall, nft_text
from holdfast_protocol.kinds.firewall import always_open
from holdfast_protocol.kinds.nft_text import Chain
from holdfast_protocol.kinds.way import Way

WAY = Way("10.0.0.9", 1883)


def render(**spec: Any) -> str:
    return firewall.render(spec, "edge", WAY)


def refused(**spec: Any) -> str:
    with pytest.raises(WireError) as caught:
        render(**spec)
    return caught.value.reason


def ruleset(text: str) -> str:
    return refused(ruleset=text)


def lines(**spec: Any) -> list[str]:
    """Return the rules of a spec, without what is always open."""
    found = [line.strip() for line in render(**spec).splitlines() if line.startswith("    ")]
    return [line for line in found if "holdfast:" not in line and not line.startswith("type")]


def test_a_table_is_replaced_in_one_text_that_names_no_other() -> None:
    text = render(policy={"input": "drop"})
    assert text.startswith("table inet holdfast_edge\ndelete table inet holdfast_edge\ntable inet holdfast_edge {\n")
    assert text.count("table") == 3
    assert "type filter hook input priority 0; policy drop;" in text
    assert "chain output" not in text
    assert "chain forward" not in text


def test_rules_say_exactly_what_was_asked_in_the_order_given() -> None:
    rules = [
        {"protocol": "tcp", "ports": [443, "8000-8010", 8005, 22], "interface": "eth*"},
        {"protocol": "udp", "ports": [53], "from": ["10.1.2.3/8", "fd00::/8", "192.168.1.1"]},
        {"action": "reject", "from": ["10.0.0.0/8"], "to": ["192.168.0.1"]},
        {"action": "drop", "protocol": "icmp"},
    ]
    assert lines(rules=rules) == [
        'iifname "eth*" tcp dport { 22, 443, 8000-8010 } accept',
        "ip saddr { 10.0.0.0/8, 192.168.1.1 } udp dport 53 accept",
        "ip6 saddr fd00::/8 udp dport 53 accept",
        "ip saddr 10.0.0.0/8 ip daddr 192.168.0.1 reject",
        "meta l4proto { icmp, ipv6-icmp } drop",
    ]


def test_a_rule_of_output_asks_for_the_interface_it_leaves_by() -> None:
    rule = {"direction": "output", "interface": "wan0", "action": "drop"}
    assert lines(rules=[rule]) == ['oifname "wan0" drop']


@pytest.mark.parametrize(
    "rule",
    [
        {"ports": [1]},
        {"protocol": "icmp", "ports": [1]},
        {"protocol": "tcp", "ports": []},
        {"protocol": "tcp", "ports": [0]},
        {"protocol": "tcp", "ports": [65536]},
        {"protocol": "tcp", "ports": ["9-8"]},
        {"protocol": "tcp", "ports": ["1; flush ruleset"]},
        {"protocol": "tcp", "ports": [True]},
        {"protocol": "tcp }"},
        {"from": []},
        {"from": ["10.0.0.0/33"]},
        {"from": ["fe80::1%} flush ruleset {"]},
        {"from": ["10.0.0.1 } }"]},
        {"from": ["10.0.0.1"], "to": ["fd00::1"]},
        {"from": ["10.0.0.1"] * 201},
        {"interface": 'eth0" accept; tcp dport 1'},
        {"interface": "a" * 17},
        {"interface": "eth0\n"},
        {"action": "jump other"},
        {"direction": "prerouting"},
        {"unknown": 1},
    ],
)
def test_a_rule_nft_could_read_as_more_than_one_thing_is_refused(rule: dict[str, Any]) -> None:
    assert refused(rules=[rule]) == "InvalidSpec"


@pytest.mark.parametrize("name", ["Edge", "a b", "a;b", "a}", "", "x" * 64, "a/b", "-a"])
def test_a_name_that_could_be_more_than_a_table_is_refused(name: str) -> None:
    with pytest.raises(WireError) as caught:
        firewall.render({"policy": {"input": "drop"}}, name, WAY)
    assert caught.value.reason == "BadName"


@pytest.mark.parametrize("spec", [{}, {"policy": {}}, {"ruleset": "chain a { }", "rules": [{}]}, {"policy": "drop"}])
def test_a_spec_says_one_thing(spec: dict[str, Any]) -> None:
    assert refused(**spec) == "InvalidSpec"


@pytest.mark.invariant("agent-is-never-its-own-casualty")
@pytest.mark.parametrize(
    "spec",
    [
        {"policy": {"input": "drop", "output": "drop"}},
        {"rules": [{"action": "drop"}, {"action": "drop", "direction": "output"}]},
        {
            "ruleset": "chain i { type filter hook input priority -5; policy drop; drop }\n"
            "chain o { drop; type filter hook output priority 0; }"
        },
    ],
)
def test_loopback_established_and_the_way_to_the_hub_come_before_everything_that_drops(spec: dict[str, Any]) -> None:
    text = firewall.render(spec, "edge", WAY)
    for chain in text.split("chain ")[1:]:
        inside = [line.strip() for line in chain.splitlines()[1:]]
        rules = [
            line for line in inside if line.startswith(("iifname lo", "oifname lo", "ct state", "icmpv6", "ip daddr"))
        ]
        verdicts = [
            at for at, line in enumerate(inside) if line == "drop" or "drop }" in line or line.startswith("drop;")
        ]
        assert len(rules) == (4 if "hook output" in chain else 3)
        assert all(inside.index(rule) < min(verdicts, default=len(inside)) for rule in rules)
    assert 'ip daddr 10.0.0.9 tcp dport 1883 accept comment "holdfast: the way to the hub"' in text


@pytest.mark.parametrize("kind", ["filter", "route", "nat"])
@pytest.mark.parametrize("hook", ["prerouting", "input", "output", "postrouting", "ingress"])
@pytest.mark.invariant("agent-is-never-its-own-casualty")
def test_a_chain_of_any_kind_that_could_take_the_way_to_the_hub_lets_it_pass(kind: str, hook: str) -> None:
    rules = always_open(Chain(kind, hook, "drop"), WAY)
    side = "d" if hook in {"output", "postrouting"} else "s"
    way = [rule for rule in rules if f"ip {side}addr 10.0.0.9 tcp {side}port 1883 accept" in rule]
    by_state = any("established" in rule for rule in rules)
    assert way or by_state or kind == "nat"  # of nat only the first packet, which is ours, is asked
    assert bool(way) == (hook != "input" and (kind, hook) not in {("nat", "prerouting"), ("nat", "ingress")})


def test_chains_that_only_mark_keep_their_say_over_the_rest() -> None:
    assert len(always_open(Chain("filter", "prerouting", "accept"), WAY)) == 1
    assert always_open(Chain("filter", "forward", "drop"), WAY) == []


def test_a_hub_known_by_name_may_have_any_address_and_must_be_looked_up() -> None:
    text = "\n".join(always_open(Chain("filter", "output", "drop"), Way("hub.example", 8883)))
    assert "\ntcp dport 8883 accept" in text
    assert "meta l4proto { tcp, udp } th dport 53 accept" in text
    assert "hub.example" not in text
    six = always_open(Chain("filter", "output", "drop"), Way("fd00::9", 1883))
    assert six[-1].startswith("ip6 daddr fd00::9 tcp dport 1883")


def test_an_ejected_firewall_knows_no_hub_and_keeps_the_rest_open() -> None:
    text = firewall.render({"policy": {"output": "drop"}}, "edge", None)
    assert "the way to the hub" not in text
    assert "ct state established,related accept" in text


@pytest.mark.parametrize(
    "text",
    [
        "} table inet other { chain a { } ",
        "}",
        "chain a { ",
        "chain a { } }\ntable inet filter { {",
        'include "/etc/shadow"',
        'chain a { type filter hook input priority 0; } ; include "/etc/x"',
        "include\t'/etc/x'",
        'chain a { log prefix "}\n" }',
        'chain a { log prefix "open }',
        "chain a { comment \\\n }",
        "chain a\x00 { }",
        "chain ä { }",
        "chain a { }\r",
        'chain "a" { type filter hook input priority 0; drop }',
        "chain $a { }",
        "chain a { } chain a { type filter hook output priority 0; drop }",
        "chain a { type filter hook input priority 0; type filter hook output priority 0; }",
        "chain a { hook input priority 0; }",
        "chain a { type filter hook $x priority 0; }",
        "chain a { type filter hook input priority 0; policy $p; }",
        "chain a { type filter hook input priority 0; policy drop; policy accept; }",
        "chain a { type nat hook output priority 0; policy drop; }",
        "chain a { type other hook input priority 0; }",
        "type filter hook input priority 0;",
        "chain",
        "chain a",
    ],
)
def test_a_ruleset_that_may_lead_out_of_the_table_or_hide_a_chain_is_refused(text: str) -> None:
    assert ruleset(text) == "BadRuleset"


def test_a_ruleset_too_long_is_refused() -> None:
    assert ruleset("#" * (nft_text.MAX_TEXT + 1)) == "TooLarge"


def test_braces_in_quotes_and_comments_are_only_text() -> None:
    text = 'chain a {\n  # } table inet other {\n  log prefix "} {" accept comment "include }"\n}'
    assert text in render(ruleset=text)


def test_the_rest_of_a_ruleset_is_loaded_as_written() -> None:
    text = (
        "set web { type inet_service; flags interval; elements = { 80, 8000-8010 } }\n"
        "chain sub { tcp dport @web accept }\n"
        "chain input { type filter hook input priority 0; policy accept; jump sub }\n"
        "flowtable f { hook ingress priority 0; devices = { lo }; }"
    )
    rendered = render(ruleset=text)
    kept = [line for line in rendered.splitlines() if "holdfast" not in line]
    assert "".join("\n".join(kept).split()) == "".join((text + "}").split())


def test_the_machine_may_ask_for_its_addresses_and_the_agent_reach_the_site_s_broker() -> None:
    way = Way("192.0.2.1", 1883, ("10.0.0.5", 1884))
    out = "\n".join(always_open(Chain("filter", "output", "drop"), way))
    assert "udp sport 546 udp dport 547 accept" in out
    assert "udp sport 68 udp dport 67 accept" in out
    assert "ip daddr 10.0.0.5 tcp dport 1884 accept" in out
    inward = "\n".join(always_open(Chain("filter", "input", "drop"), way))
    assert "ip6 daddr fe80::/10 udp sport 547 udp dport 546 accept" in inward
    assert "1884" not in inward
