"""A Bridge's spec, checked: a broker somebody has, and what goes there and comes from there.

What is wrong with the rules is found here: topics that are none, rules that would loop, what the remote's product does not
take. A site and the hub run the same.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.bridging import limits
from holdfast_protocol.bridging.limits import Product
from holdfast_protocol.bridging.loops import looping
from holdfast_protocol.bridging.presets import Preset, filled
from holdfast_protocol.bridging.rules import MAX_RULES, Names, Route, Rule, text_of
from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.errors import PermanentError, Problem
from holdfast_protocol.kinds.inputs import (
    Material,
    Tls,
    check_broker,
    check_session,
    login_materials,
)
from holdfast_protocol.kinds.pods.quantities import Quantity, whole_bytes
from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.wire.flaws import Flaw

KIND: Final = "Bridge"
MIB: Final = 1024 * 1024
MAX_WINDOW: Final = 1_000
MAX_BYTES: Final = 64 * 1024 * MIB
MAX_MESSAGES: Final = 100_000_000
MAX_VALUES: Final = 50
MAX_VALUE: Final = 256  # characters
_CLIENT: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,256}")
_VALUE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,62}")
_OWN: Final = re.compile(r"\{(site|node|label\.[A-Za-z0-9_./-]{1,57})\}")  # what a value may name itself


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How to reach a broker. Texts of credentials are keys of Secrets of the same target; at the hub, files there."""

    host: str
    port: int = 0  # 0: 1883, with tls 8883
    version: Literal["3.1.1", "5"] = "5"
    client_id: str = ""  # "": holdfast-SITE.NODE-bridge-NAME
    keep_alive: str = "30s"
    username: str = ""
    password: Material | None = None
    tls: Tls | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or (8883 if self.tls is not None else 1883)


class Buffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Of each way: what waits while the other side is away. Beyond it `drop` goes, counted."""

    bytes: Quantity = "64Mi"
    messages: int = 100_000
    drop: Literal["oldest", "newest"] = "oldest"
    ttl: str = ""  # 7d; "": for as long as there is room


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written. `values` are texts that templates may name; {site} and {node} are always there."""

    remote: Side
    local: Side | None = None  # None: the site's broker in the settings, or the hub's own
    run: Literal["site", "hub"] = "site"
    broker: Product = ""
    preset: Preset = ""
    out: tuple[Rule, ...] = ()
    into: tuple[Rule, ...] = msgspec.field(default=(), name="in")
    values: dict[str, str] = {}
    buffer: Buffer = Buffer()
    window: int = 100  # messages on their way before the first is acknowledged


class Place(msgspec.Struct, frozen=True):
    """Where a bridge runs: what {site} and {node} are, and the broker of its own that is there."""

    site: str
    node: str
    host: str = ""  # "": there is none
    port: int = 0
    unix: str = ""  # the broker's socket, if it has one


class Wanted(msgspec.Struct, frozen=True):
    """`bytes`, `messages` of each way; `ttl` in milliseconds, 0: any. `materials` by place: remote.password."""

    spec: Spec
    out: tuple[Route, ...]
    into: tuple[Route, ...]
    bytes: int
    messages: int
    ttl: int
    materials: dict[str, Material]
    warnings: tuple[Flaw, ...]


def wanted(spec: dict[str, Any], name: str, place: Place | None = None) -> Wanted:
    """Return what the spec wants. `place` None: as far as it can be told without knowing where.

    Raises WireError InvalidSpec, PermanentError `BrokerLimits` with every problem.
    """
    given = shaped(filled(spec), Spec)
    _check_side(given.remote, "spec.remote", given.run)
    if given.local is not None:
        _check_side(given.local, "spec.local", given.run)
    names = _names(given, place)
    out = tuple(_routes(given.out, "out", names, given))
    into = tuple(_routes(given.into, "in", names, given))
    if any(each.of_readings for each in into):
        raise invalid("spec.in: readings only go out", "a DeviceSource takes them in")
    if not out and not into:
        raise invalid("spec.out: nothing goes over", 'out: [{topic: "devices/#"}], or a preset')
    if given.preset == "sparkplug" and (into or not all(each.of_readings for each in out)):
        raise invalid("spec.out: a Sparkplug edge node says readings, and nothing else", "a Bridge beside it")
    size, ttl = _buffer(given)
    if not 1 <= given.window <= MAX_WINDOW:
        raise invalid(f"spec.window: must be 1 to {MAX_WINDOW}")
    flaws = [*_loops(given, out, into, place), *_limits(given, out, into, name, place)]
    if errors := [each for each in flaws if not each.warning]:
        problems = [Problem(each.message, path=text_of(each.path), hint=each.hint) for each in errors]
        first = problems[0]
        raise PermanentError(
            f"{first.path}: {first.message}", reason="BrokerLimits", hint=first.hint, problems=problems
        )
    return Wanted(given, out, into, size, given.buffer.messages, ttl, materials_of(given), tuple(flaws))


def at_site(spec: dict[str, Any], name: str, place: Place | None = None) -> Wanted:
    """Return the same of a bridge that is one of a site's resources."""
    want = wanted(spec, name, place)
    if want.spec.run != "site":
        raise invalid("spec.run: hub is for a Bridge of its own", "holdfast apply it alone, not in a blueprint")
    return want


def warnings(spec: dict[str, Any], name: str) -> Sequence[Flaw]:
    """Return what an author should know of a spec that is taken, paths from the root of its document."""
    return wanted(spec, name).warnings


def client_id(given: Side, name: str, site: str, node: str = "") -> str:
    """Return the client id of a side; `site` is "hub" there. With the node: of two with one id the broker keeps the newer."""
    return given.client_id or f"holdfast-{site}{node and '.'}{node}-bridge-{name}"


def materials_of(given: Spec) -> dict[str, Material]:
    """Return every reference of a spec by its place below it."""
    found: dict[str, Material] = {}
    for side in ("remote", "local"):
        section = getattr(given, side)
        if section is not None:
            found |= {f"{side}.{key}": each for key, each in login_materials(section).items()}
    return found


def _names(given: Spec, place: Place | None) -> Names:
    if len(given.values) > MAX_VALUES:
        raise invalid(f"spec.values: at most {MAX_VALUES}")
    own = {"site": place.site, "node": place.node} if place is not None and given.run == "site" else {}
    for key, text in given.values.items():
        if not _VALUE.fullmatch(key) or key in ("site", "node", "device", "metric"):
            raise invalid(f"spec.values: {key[:60]!r} is no name for a value")
        if not 0 < len(text) <= MAX_VALUE or set(_OWN.sub("", text)) & set("+#{}\0"):
            raise invalid(f"spec.values.{key}: is part of a topic: 1 to {MAX_VALUE} characters without + # and braces")
    each = set() if own else {"site", "node"}
    if given.run == "hub" or place is None:
        each.add("label.*")
    return Names(given.values | own, frozenset(each))


def _routes(rules: tuple[Rule, ...], way: str, names: Names, given: Spec) -> Iterator[Route]:
    if len(rules) > MAX_RULES:
        raise invalid(f"spec.{way}: at most {MAX_RULES} rules")
    fast = Names(names.values) if given.run == "hub" else names  # at the hub only readings come with a site
    for number, rule in enumerate(rules):
        if not rule.off:
            yield Route(rule, ("spec", way, number), names if rule.source == "readings" else fast)


def _loops(given: Spec, out: Sequence[Route], into: Sequence[Route], place: Place | None) -> Iterator[Flaw]:
    local, remote = given.local, given.remote
    near = local.address if local is not None else (place.host, place.port) if place is not None else None
    found = looping(
        out,
        into,
        unmarked_remote=remote.version == "3.1.1",
        unmarked_local=local is not None and local.version == "3.1.1",
        one_broker=near == remote.address,
    )
    for route, why in found:
        yield Flaw((*route.at, "topic"), f"goes round: {why}", "a prefix that tells the two ways apart")


def _limits(given: Spec, out: Sequence[Route], into: Sequence[Route], name: str, place: Place | None) -> Iterator[Flaw]:
    keep_alive = seconds(given.remote.keep_alive, "spec.remote.keepAlive")
    called = client_id(given.remote, name, *((place.site, place.node) if place is not None else ("site", "node")))
    yield from limits.lint(given, out, into, keep_alive=keep_alive, client_id=called)


def _check_side(side: Side, path: str, run: str) -> None:
    check_broker(side.host, side.port, path)
    if side.client_id and not _CLIENT.fullmatch(side.client_id):
        raise invalid(f"{path}.clientId: 1 to 256 of letters, digits and _ . : / -")
    if run == "hub":
        _check_files(side, path)
    else:
        check_session(side.keep_alive, side.username, side.password, side.tls, path)


def _check_files(side: Side, path: str) -> None:
    """Check a side of the hub's, where credentials are files that whoever writes such an object may name."""
    given = login_materials(side)
    for key, material in given.items():
        if not material.path.startswith("/") or "\0" in material.path or material.secret or material.config_map:
            raise invalid(f"{path}.{key}: at the hub, is a file there", "{path: /etc/holdfast/bridge.password}")
    if bool(side.username) != (side.password is not None):
        raise invalid(f"{path}.password: and username go together")
    if len(side.username) > 256 or not side.username.isprintable():
        raise invalid(f"{path}.username: at most 256 printable characters")
    check_session(side.keep_alive, "", None, side.tls, path)


def _buffer(given: Spec) -> tuple[int, int]:
    try:
        size = whole_bytes(given.buffer.bytes)
    except ValueError as error:
        raise invalid(f"spec.buffer.bytes: {error}", "64Mi") from None
    if not MIB <= size <= MAX_BYTES:
        raise invalid("spec.buffer.bytes: must be 1Mi to 64Gi")
    if not 1 <= given.buffer.messages <= MAX_MESSAGES:
        raise invalid(f"spec.buffer.messages: must be 1 to {MAX_MESSAGES}")
    ttl = seconds(given.buffer.ttl, "spec.buffer.ttl") * 1000 if given.buffer.ttl else 0
    return size, ttl
