"""A Firewall's spec, and the nftables table of its own that says the same, in native form.

Both forms of the spec keep open what a site must not lose, by rules at the head of its chains: loopback, connections that
stand, the neighbours of IPv6, the machine's own asking for addresses, and the agent's way to its hub and to the site's
broker. Nothing else: not ssh. [inv: agent-is-never-its-own-casualty]
"""

import ipaddress
import re
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import nft_text
from holdfast_protocol.kinds.nft_text import Chain
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire.names import is_name

MAX_RULES: Final = 500
MAX_ITEMS: Final = 200  # ports or addresses of one rule
PREFIX: Final = "holdfast_"
Direction = Literal["input", "output", "forward"]
Verdict = Literal["accept", "drop"]
_DIRECTIONS: Final[tuple[Direction, ...]] = ("input", "output", "forward")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}\*?")
_WITH_PORTS: Final = frozenset({"tcp", "udp", "sctp"})
_SYSTEM: Final = 'comment "holdfast: always open"'
_WAY: Final = 'comment "holdfast: the way to the hub"'
_BROKER: Final = 'comment "holdfast: the way to the site\'s broker"'
_NEIGHBOURS: Final = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert }"


_ASKING: Final = ("udp sport 68 udp dport 67", "udp sport 546 udp dport 547")  # DHCP, of both families
_ANSWERS: Final = ("ip6 daddr fe80::/10 udp sport 547 udp dport 546",)  # IPv4's are established, or come by raw sockets


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What is left out is not asked of a packet."""

    action: Literal["accept", "drop", "reject"] = "accept"
    direction: Direction = "input"
    protocol: Literal["any", "tcp", "udp", "sctp", "icmp", "esp", "ah", "gre"] = "any"
    ports: tuple[int | str, ...] | None = None  # where to: 443 or "8000-8010"
    from_: tuple[str, ...] | None = None  # addresses or networks, of both families
    to: tuple[str, ...] | None = None
    interface: str = ""  # it comes in by; of output: it goes out by. A * at the end stands for anything


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to packets no rule says anything about. "": as accept, and without a chain while no rule needs one."""

    input: Verdict | Literal[""] = ""
    output: Verdict | Literal[""] = ""
    forward: Verdict | Literal[""] = ""


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written: policy and rules, or a ruleset: what stands inside the braces of our table, as nft(8) reads it."""

    policy: Policy = Policy()
    rules: tuple[Rule, ...] = ()
    ruleset: str = ""


def table_of(name: str) -> str:
    """Return the name of the table (family inet) of the resource `name`, or raise WireError: BadName."""
    if not is_name(name):
        raise WireError(
            f"{name[:100]!r} cannot name a table", reason="BadName", hint="lower-case letters, digits and inner hyphens"
        )
    return PREFIX + name


def render(spec: dict[str, Any], name: str, way: Way | None) -> str:
    """Return a text for `nft -f` that replaces the table whole, in one transaction; loading it again changes nothing.

    `way` None: there is no agent (an ejected firewall). Raises WireError: InvalidSpec, BadName, BadRuleset, TooLarge.
    """
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    if given.ruleset:
        if given.rules or given.policy != Policy():
            raise _invalid("spec needs policy and rules, or a ruleset, not both")
        body = nft_text.with_heads(given.ruleset, lambda chain: always_open(chain, way))
    else:
        body = _structured(given, way)
    table = table_of(name)
    return f"{deletion(name)}table inet {table} {{\n{body}\n}}\n"


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the table as a file for `nft -f`, without the rules for an agent's way to its hub."""
    head = f"# Load with: nft -f {name}.nft; to have it at every boot, include it in /etc/nftables.conf\n"
    return {f"{name}.nft": head + render(spec, name, None)}


def deletion(name: str) -> str:
    """Return the text for `nft -f` that takes the table away, whether it is there or not."""
    table = table_of(name)
    return f"table inet {table}\ndelete table inet {table}\n"


def always_open(chain: Chain, way: Way | None) -> list[str]:
    """Return the rules that stand at the head of a base chain. An accept there ends this chain only, so every chain
    that can drop has them; chains that only mark or translate keep their say over everything but the agent's way."""
    drops = chain.policy == "drop" or (chain.kind == "filter" and chain.hook in {"input", "output"})
    if chain.hook == "forward" or (chain.kind == "nat" and chain.hook not in {"output", "postrouting"}):
        return []
    outward = chain.hook in {"output", "postrouting"}
    rules = []
    if drops:
        if chain.hook != "ingress":  # before connections are tracked, and never of loopback
            rules += [
                f"{'oifname' if outward else 'iifname'} lo accept {_SYSTEM}",
                f"ct state established,related accept {_SYSTEM}",
            ]
        rules.append(f"{_NEIGHBOURS} accept {_SYSTEM}")
        rules += [f"{each} accept {_SYSTEM}" for each in (_ASKING if outward else _ANSWERS)]
    if way is not None and (outward or chain.hook != "input"):  # what comes back to input is established
        rules += _way_rules(way.host, way.port, "d" if outward else "s", _WAY)
        if way.broker is not None:
            rules += _way_rules(*way.broker, "d" if outward else "s", _BROKER)
    return rules


def _way_rules(host: str, number: int, side: Literal["d", "s"], comment: str) -> list[str]:
    port = f"tcp {side}port {number} accept {comment}"
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return [port, f"meta l4proto {{ tcp, udp }} th {side}port 53 accept {comment}"]
    return [f"{'ip' if address.version == 4 else 'ip6'} {side}addr {address} {port}"]


def _structured(spec: Spec, way: Way | None) -> str:
    if len(spec.rules) > MAX_RULES:
        raise _invalid(f"spec.rules: more than {MAX_RULES}")
    lines: dict[str, list[str]] = {each: [] for each in _DIRECTIONS}
    for index, rule in enumerate(spec.rules):
        lines[rule.direction] += _rule(rule, f"spec.rules[{index}]")
    chains = []
    for direction in _DIRECTIONS:
        policy = getattr(spec.policy, direction)
        if policy or lines[direction]:
            head = always_open(Chain("filter", direction, policy), way)
            said = [f"type filter hook {direction} priority 0; policy {policy or 'accept'};", *head, *lines[direction]]
            chains.append("\n".join([f"  chain {direction} {{", *(f"    {line}" for line in said), "  }"]))
    if not chains:
        raise _invalid("spec says nothing: give policy, rules or ruleset")
    return "\n".join(chains)


def _rule(rule: Rule, path: str) -> list[str]:
    """Return the rule once, or once for each family its addresses need."""
    parts = []
    if rule.interface:
        if not _INTERFACE.fullmatch(rule.interface):
            raise _invalid(f"{path}.interface {rule.interface[:40]!r} is no interface")
        parts.append(f'{"oifname" if rule.direction == "output" else "iifname"} "{rule.interface}"')
    last = [_protocol(rule, path), rule.action]
    sources, targets = _addresses(rule.from_, f"{path}.from"), _addresses(rule.to, f"{path}.to")
    if sources is None and targets is None:
        return [" ".join(part for part in (*parts, *last) if part)]
    found = []
    for family, word in ((4, "ip"), (6, "ip6")):
        sides = [(side, each) for side, each in (("saddr", sources), ("daddr", targets)) if each is not None]
        if all(each[family] for _, each in sides):
            asked = [f"{word} {side} {_set(each[family])}" for side, each in sides]
            found.append(" ".join(part for part in (*parts, *asked, *last) if part))
    if not found:
        raise _invalid(f"{path}: from and to have no family of addresses in common")
    return found


def _protocol(rule: Rule, path: str) -> str:
    if rule.ports is not None:
        if rule.protocol not in _WITH_PORTS:
            raise _invalid(f"{path}.ports needs protocol tcp, udp or sctp")
        if not 0 < len(rule.ports) <= MAX_ITEMS:
            raise _invalid(f"{path}.ports must hold 1 to {MAX_ITEMS}")
        return f"{rule.protocol} dport {_set(_merged([_ports(each, f'{path}.ports') for each in rule.ports]))}"
    if rule.protocol == "any":
        return ""
    return f"meta l4proto {'{ icmp, ipv6-icmp }' if rule.protocol == 'icmp' else rule.protocol}"


def _ports(given: int | str, path: str) -> tuple[int, int]:
    text = str(given)
    if not re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", text):
        raise _invalid(f"{path}: {text[:40]!r} is no port", hint="443 or '8000-8010'")
    low, _, high = text.partition("-")
    first, last = int(low), int(high or low)
    if not 0 < first <= last < 65536:
        raise _invalid(f"{path}: {text} is no port or range of ports")
    return first, last


def _merged(ranges: list[tuple[int, int]]) -> list[str]:
    """Return ranges as nft takes them in one set: none may overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _addresses(given: tuple[str, ...] | None, path: str) -> dict[int, list[str]] | None:
    if given is None:
        return None
    if not 0 < len(given) <= MAX_ITEMS:
        raise _invalid(f"{path} must hold 1 to {MAX_ITEMS} addresses", hint="leave it out to mean any")
    four: list[ipaddress.IPv4Network] = []
    six: list[ipaddress.IPv6Network] = []
    for text in given:
        try:
            network = ipaddress.ip_network("" if "%" in text else text, strict=False)  # a zone may be any text
        except ValueError:
            raise _invalid(f"{path}: {text[:60]!r} is no address or network") from None
        if isinstance(network, ipaddress.IPv4Network):
            four.append(network)
        else:
            six.append(network)
    return {
        4: [_network(each) for each in ipaddress.collapse_addresses(four)],
        6: [_network(each) for each in ipaddress.collapse_addresses(six)],
    }


def _network(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _set(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{{ {', '.join(items)} }}"


def _invalid(message: str, *, hint: str = "") -> WireError:
    return WireError(message, reason="InvalidSpec", hint=hint)
