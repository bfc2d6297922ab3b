"""Restarts of machines: when a site may restart them by itself (RebootPolicy), and that somebody wants one (RebootRequest).

Of several policies at a site the one that restarts less wins, field by field. A request is served once, or ends.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.calendar import durations
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.names import ResourceKey

FEATURE: Final = "reboots/v1"
POLICY: Final = "RebootPolicy"
REQUEST: Final = "RebootRequest"
ANNOTATION: Final = "holdfast.io/needs-boot"  # "true": a change of the resource is in effect after the next boot
KEY: Final = ResourceKey("Reboot/machine")  # what windows and plans call a restart
MAX_EACH: Final = 64  # policies, and requests, at one site
MAX_PATTERNS: Final = 200
MAX_PATTERN: Final = 320  # characters
MAX_REASON: Final = 300
MAX_SECONDS: Final = 30 * 24 * 3600  # a request stands
MAX_GRACE: Final = 24 * 3600
MAX_UPTIME: Final = 30 * 24 * 3600
MAX_ATTEMPTS: Final = 100

When = Literal["never", "required", "always-after"]
WHENS: Final[tuple[When, ...]] = ("never", "required", "always-after")  # what restarts less comes first


class PolicySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """`after`, of always-after: keys (`Package/linux`) or kinds (`KernelModule/*`) whose changes need a boot as well.

    `minimum_uptime`: so long a machine is up before it restarts again, "0s": no such time; `attempts`: restarts for the
    same cause, after which it is given up."""

    when: When
    after: tuple[str, ...] = ()
    grace: str = "1m"
    minimum_uptime: str = "1h"
    attempts: int = 3


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A RebootPolicy as a target carries it. Times in seconds."""

    name: str
    when: When
    after: tuple[str, ...] = ()
    grace: int = 60
    minimum_uptime: int = 3600
    attempts: int = 3

    def covers(self, key: ResourceKey) -> bool:
        """Return whether changes of a resource need a boot by this policy."""
        return self.when == "always-after" and any(each in (key, f"{key.partition('/')[0]}/*") for each in self.after)


class RequestSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`until` by the hub's clock, in milliseconds since 1970; `seconds`: the most it stands where the clock is wrong."""

    reason: str
    until: int
    seconds: int
    by: str = ""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A RebootRequest as a target carries it."""

    name: str
    reason: str
    until: int
    seconds: int
    by: str = ""

    @property
    def id(self) -> str:
        """Another time of the same name is another request."""
        return f"{self.name}@{self.until}"


def policy_flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a RebootPolicy's spec, without its placement."""
    known = ("when", "after", "grace", "minimumUptime", "attempts")
    yield from _unknown(spec, known)
    if spec.get("when") not in WHENS:
        yield Flaw(("when",), f"when must be {', '.join(WHENS[:-1])} or {WHENS[-1]}")
    after = spec.get("after", [])
    if not isinstance(after, list) or len(after) > MAX_PATTERNS:
        yield Flaw(("after",), f"after must be a list of at most {MAX_PATTERNS}")
    else:
        for number, pattern in enumerate(after):
            if not isinstance(pattern, str) or not _is_pattern(pattern):
                yield Flaw(("after", number), "must be Kind/name, Kind/namespace/name or Kind/*", hint="KernelModule/*")
    if after and spec.get("when") != "always-after":
        yield Flaw(("after",), "after goes with when: always-after")
    for field, most in (("grace", MAX_GRACE), ("minimumUptime", MAX_UPTIME)):
        if field in spec and not 0 <= _seconds(spec[field]) <= most:
            yield Flaw((field,), f"{field} must be 0s, or a duration of at most {most} seconds", hint="90s, 30m, 1h30m")
    attempts = spec.get("attempts", 3)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or not 1 <= attempts <= MAX_ATTEMPTS:
        yield Flaw(("attempts",), f"attempts must be 1 to {MAX_ATTEMPTS}")


def request_flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a RebootRequest's spec, without its placement."""
    yield from _unknown(spec, RequestSpec.__struct_fields__)
    reason = spec.get("reason")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON:
        yield Flaw(("reason",), f"a restart needs a reason of at most {MAX_REASON} characters")
    for field, most in (("until", 2**53), ("seconds", MAX_SECONDS)):
        given = spec.get(field)
        if not isinstance(given, int) or isinstance(given, bool) or not 0 < given <= most:
            yield Flaw((field,), f"{field} must be a number from 1 to {most}", hint="holdfast site reboot writes it")
    if not isinstance(spec.get("by", ""), str) or len(spec.get("by", "")) > MAX_REASON:
        yield Flaw(("by",), f"by is who asks, at most {MAX_REASON} characters")


def _unknown(spec: dict[str, Any], known: Sequence[str]) -> Iterator[Flaw]:
    for key in spec:
        if key not in known:
            yield Flaw((key,), f"unknown field {str(key)[:80]!r}", hint=f"known: {', '.join(known)}, placement")


def _is_pattern(pattern: str) -> bool:
    parts = pattern.split("/")
    if len(pattern) > MAX_PATTERN or not 2 <= len(parts) <= 3 or not all(parts):
        return False
    return "*" not in pattern or (len(parts) == 2 and parts[1] == "*" and "*" not in parts[0])


def _seconds(text: Any) -> int:
    """Return a written duration, -1 for what is none."""
    if text == "0s":
        return 0
    try:
        return durations.seconds(text, "") if isinstance(text, str) else -1
    except WireError:
        return -1


def carry_policy(name: str, spec: dict[str, Any]) -> Policy:
    """Return a checked policy as a target carries it."""
    given = msgspec.convert(spec, PolicySpec)
    grace, uptime = _seconds(given.grace), _seconds(given.minimum_uptime)
    return Policy(name, given.when, given.after, grace, uptime, given.attempts)


def carry_request(name: str, spec: dict[str, Any]) -> Request:
    """Return a checked request as a target carries it."""
    given = msgspec.convert(spec, RequestSpec)
    return Request(name, given.reason, given.until, given.seconds, given.by)


def check_reboots(policies: Sequence[Policy], requests: Sequence[Request]) -> None:
    """Raise WireError for what no hub of ours has made."""
    if len(policies) > MAX_EACH or len(requests) > MAX_EACH:
        raise WireError(f"more than {MAX_EACH} reboot policies or requests", reason="TooLarge")
    for policy in policies:
        times = 0 <= policy.grace <= MAX_GRACE and 0 <= policy.minimum_uptime <= MAX_UPTIME
        named = len(policy.after) <= MAX_PATTERNS and all(map(_is_pattern, policy.after))
        if not times or not named or not 1 <= policy.attempts <= MAX_ATTEMPTS:
            raise WireError(f"reboot policy {policy.name[:80]!r} is out of bounds", reason="BadReboot")
    for request in requests:
        if not request.name or not 0 < request.seconds <= MAX_SECONDS or len(request.reason) > MAX_REASON:
            raise WireError("a request of a restart needs a name, and an end", reason="BadReboot")


def merged(policies: Iterable[Policy]) -> Policy | None:
    """Return what all policies of a site come to; None without any."""
    every = tuple(policies)
    if not every:
        return None
    when = WHENS[min(WHENS.index(each.when) for each in every)]
    return Policy(
        name=", ".join(each.name for each in every),
        when=when,
        after=tuple(sorted({pattern for each in every for pattern in each.after})) if when == "always-after" else (),
        grace=max(each.grace for each in every),
        minimum_uptime=max(each.minimum_uptime for each in every),
        attempts=min(each.attempts for each in every),
    )
