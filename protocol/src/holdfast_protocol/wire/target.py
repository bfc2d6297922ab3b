"""Target: everything one site should be, signed whole.

`digest` covers what the site should be and nothing of when or by whom it was said, so an unchanged meaning publishes
nothing. (epoch, generation) orders targets and never goes back.
"""

from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import envelope, strict, topics
from holdfast_protocol.wire.drift import FEATURE as DRIFT
from holdfast_protocol.wire.drift import Rule, check_rules
from holdfast_protocol.wire.names import (
    Digest,
    FleetName,
    ResourceKey,
    SiteName,
    resource_key,
)
from holdfast_protocol.wire.overrides import FEATURE as OVERRIDES
from holdfast_protocol.wire.overrides import MAX_DECISIONS, Decision
from holdfast_protocol.wire.program import FEATURE as PROGRAMS
from holdfast_protocol.wire.program import Program, check_programs
from holdfast_protocol.wire.reboots import FEATURE as REBOOTS
from holdfast_protocol.wire.reboots import Policy as RebootPolicy
from holdfast_protocol.wire.reboots import Request as RebootRequest
from holdfast_protocol.wire.reboots import check_reboots
from holdfast_protocol.wire.windows import FEATURE as WINDOWS
from holdfast_protocol.wire.windows import MAX_WINDOWS, carried, is_zone_name

KIND: Final = envelope.payload_type("target")
BEACON: Final = envelope.payload_type("beacon")
HOLDS: Final = "holds/v1"  # `holds` are kept until they end
POLICIES: Final = "policies/v1"  # `policies` are checked again before anything is applied
FEATURES: Final[frozenset[str]] = frozenset(
    {"resources/v1", PROGRAMS, POLICIES, WINDOWS, HOLDS, DRIFT, OVERRIDES, REBOOTS}
)  # what this version can be required to understand
MAX_RESOURCES: Final = 5_000
MAX_HOLDS: Final = 100
MAX_KEY: Final = 512  # characters; a status names every resource by it


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rendered Kubernetes-style object and where it comes from."""

    key: ResourceKey
    digest: Digest  # of `body`
    body: dict[str, Any]
    id: str = ""  # its id in the blueprint
    instance: str = ""
    blueprint: str = ""
    revision: int = 0
    depends_on: tuple[ResourceKey, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def spec(self) -> dict[str, Any]:
        """The object's spec; empty for kinds without one."""
        spec: dict[str, Any] = self.body.get("spec") or {}
        return spec


class HubHold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A hold made at the hub. [inv: every-hold-expires] `resources` empty means everything at the site."""

    id: str
    reason: str
    until: int  # hub's clock, milliseconds since 1970
    seconds: int  # how long it was made for: the most it can last at a site whose clock is wrong
    by: str
    resources: tuple[str, ...] = ()


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a target means. Unknown fields are refused: a root agent must not half-understand."""

    resources: tuple[Resource, ...] = ()
    requires: tuple[str, ...] = ()
    windows: tuple[dict[str, Any], ...] = ()
    policies: tuple[dict[str, Any], ...] = ()
    budgets: dict[str, Any] = {}
    secrets: tuple[dict[str, Any], ...] = ()  # sealed to the node's key
    programs: tuple[Program, ...] = ()  # what is evaluated at the site
    holds: tuple[HubHold, ...] = ()
    drift: tuple[Rule, ...] = ()  # whether what somebody changed is corrected
    overrides: tuple[Decision, ...] = ()
    reboot_policies: tuple[RebootPolicy, ...] = ()  # when the machine restarts by itself
    reboot_requests: tuple[RebootRequest, ...] = ()  # that somebody wants it to
    time_zone: str = ""  # IANA, of windows that name none; "": the node's own


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed payload."""

    fleet: FleetName
    site: SiteName
    epoch: int  # version of the trust root that introduced the signing key
    generation: int  # allocated in the hub's transaction of the change, 1 upwards
    digest: Digest  # of `content`
    previous: str  # digest of the target before, "" for the first
    issued_at: int  # hub's clock, milliseconds since 1970; informs the edge's time floor, never its order
    content: Content
    kind: str = "target"
    v: int = 1

    @property
    def position(self) -> tuple[int, int]:
        return (self.epoch, self.generation)


class Beacon(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ "This is your newest target", short-lived. A stale beacon is an alarm, never a reason to change anything."""

    fleet: FleetName
    site: SiteName
    epoch: int
    generation: int
    digest: str  # "" while the site has no target
    issued_at: int
    expires_at: int
    kind: str = "beacon"
    v: int = 1


def resource(body: dict[str, Any], **origin: Any) -> Resource:
    """Return a rendered object as a resource of a target; `origin` fills id, instance, blueprint, revision, depends_on."""
    return Resource(key=resource_key(body), digest=digests.digest(body), body=body, **origin)


def work_digest(content: Content) -> Digest:
    """Return the digest of what there is to do: when it may be done, windows and holds, and restarts are left out."""
    return digests.digest(
        msgspec.structs.replace(
            content,
            windows=(),
            holds=(),
            overrides=(),
            reboot_policies=(),
            reboot_requests=(),
            time_zone="",
            requires=(),
        )
    )


def seal(target: Target, signers: list[envelope.Signer]) -> bytes:
    return envelope.seal(KIND, strict.encode(target), signers)


class Expected(msgspec.Struct, frozen=True):
    """What a site accepts: itself, keys by name with the epoch that introduced each, and what it holds already."""

    fleet: FleetName
    site: SiteName
    keys: dict[str, bytes]
    epochs: dict[str, int]
    threshold: int = 1
    held: tuple[int, int] = (0, 0)  # (epoch, generation) of the newest accepted target
    held_digest: str = ""


def open_target(data: bytes, expected: Expected) -> Target:
    """Return the target in an envelope, or raise WireError with the reason it is refused.

    Checked in this order: size, signature, shape, addressee, epoch of the key, position, features, digests. The same
    position with the same digest is returned again (a redelivery); `Stale` and `Equivocation` say the rest.
    """
    payload = envelope.open_sealed(
        data, KIND, expected.keys, limit=topics.TABLE["target"].limit, threshold=expected.threshold
    )
    header = strict.decode(payload, _Header, limit=len(payload))
    if header.kind != "target" or header.v != 1:
        raise WireError(f"{header.kind!r} version {header.v} is not understood here", reason="UnknownVersion")
    target = strict.decode(payload, Target, limit=len(payload))
    if (target.fleet, target.site) != (expected.fleet, expected.site):
        raise WireError(f"meant for {target.fleet}/{target.site}", reason="WrongSite")
    if target.epoch not in expected.epochs.values() or target.generation < 1:
        raise WireError(f"epoch {target.epoch} is not trusted here", reason="BadEpoch")
    if target.position < expected.held:
        raise WireError(f"generation {target.position} is older than {expected.held}", reason="Stale")
    if target.position == expected.held and target.digest != expected.held_digest:
        raise WireError(f"two targets claim generation {target.position}", reason="Equivocation")
    unknown = sorted(set(target.content.requires) - FEATURES)
    if unknown:
        raise WireError(f"requires {', '.join(unknown)}, unknown here", reason="MissingFeature")
    _check_content(target)
    return target


class _Header(msgspec.Struct, frozen=True):
    kind: str
    v: int


def _check_content(target: Target) -> None:
    if digests.digest(target.content) != target.digest:
        raise WireError("content does not have the digest stated", reason="BadDigest")
    if len(target.content.resources) > MAX_RESOURCES:
        raise WireError(f"more than {MAX_RESOURCES} resources", reason="TooLarge")
    seen: set[str] = set()
    for each in target.content.resources:
        problem = _problem(each.body) if len(each.key) <= MAX_KEY else f"a key of over {MAX_KEY} characters"
        if problem:
            raise WireError(f"{each.key[:200]}: {problem}", reason="BadResource")
        if each.key != resource_key(each.body) or each.digest != digests.digest(each.body):
            raise WireError(f"{each.key[:200]}: key or digest does not fit the body", reason="BadResource")
        if each.key in seen:
            raise WireError(f"{each.key[:200]} occurs twice", reason="BadResource")
        seen.add(each.key)
    check_programs(target.content.programs)
    check_rules(target.content.drift)
    check_reboots(target.content.reboot_policies, target.content.reboot_requests)
    _check_times(target.content)


def _check_times(content: Content) -> None:
    if len(content.windows) > MAX_WINDOWS or len(content.holds) > MAX_HOLDS or len(content.overrides) > MAX_DECISIONS:
        text = f"more than {MAX_WINDOWS} windows, {MAX_HOLDS} holds or {MAX_DECISIONS} decided overrides"
        raise WireError(text, reason="TooLarge")
    if content.time_zone and not is_zone_name(content.time_zone):
        raise WireError(f"{content.time_zone[:60]!r} names no time zone", reason="BadWindow")
    for entry in content.windows:
        carried(entry)
    if any(not hold.id or hold.seconds <= 0 for hold in content.holds):
        raise WireError("a hold needs an id, and an end", reason="BadHold")


def _problem(body: dict[str, Any]) -> str:
    if not isinstance(body.get("kind"), str) or not isinstance(body.get("apiVersion"), str):
        return "kind and apiVersion must be text"
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "metadata.name must be text"
    if not isinstance(body.get("spec") or {}, dict):
        return "spec must be a map"
    return ""
