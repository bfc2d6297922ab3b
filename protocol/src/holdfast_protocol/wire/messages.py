"""The smaller messages: presence, hello, status, acknowledgements, the hub's own state.

Each payload names its kind and version. Unknown fields are ignored here (reports may grow), unlike inside a target.
"""

from typing import Any, Final, Literal, TypeVar

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import envelope, strict, topics
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName

REFUSED: Final = "target refused: "  # begins the problem of a status that says so
Quality = Literal["unknown", "floor", "synced"]
PHASES: Final = (  # of Progress, in the order they come in
    "preparing",
    "applying",
    "verifying",
    "stable",
    "degraded",
    "rolling-back",
    "rolled-back",
    "stuck",
    "rejected",
)
GONE_BACK: Final = frozenset(
    {"rolling-back", "rolled-back", "stuck", "rejected"}
)  # phases not kept at the newest target
ConditionType = Literal["Ready", "Progressing", "Waiting", "Held", "Degraded", "Failed", "Unsupported", "Removing"]


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Birth, and death as the broker's will. Not signed (the broker sends the will): a hint, never a proof."""

    site: SiteName
    node: NodeName
    online: bool
    boot_id: str = ""
    session: str = ""  # random per connection, so that a late will of an older one is recognised
    agent: str = ""  # version
    kind: str = "presence"
    v: int = 1


class StreamState(msgspec.Struct, frozen=True):
    """One stream as its node holds it. `low` is the first sequence still held, `high` the last given out (0: none)."""

    incarnation: str
    low: int
    high: int
    acked: int


class Clock(msgspec.Struct, frozen=True):
    """A node's clock. Nothing orders by it; the hub estimates offsets and keeps all of them."""

    wall: int  # milliseconds since 1970
    boottime: int  # milliseconds since boot, suspended time included
    quality: Quality = "unknown"


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """State vector: what a node holds, at every connect and every 15 minutes."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    boot_id: str
    session: str
    nonce: str
    clock: Clock
    agent: str
    epoch: int = 0  # of the target held; 0 and "" when there is none
    generation: int = 0
    digest: str = ""
    streams: dict[str, StreamState] = {}  # by class
    features: tuple[str, ...] = ()
    facts: dict[str, str] = {}
    kind: str = "hello"
    v: int = 1


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is true of one resource, why, and since when (milliseconds since 1970, node's clock)."""

    type: ConditionType
    reason: str
    message: str = ""
    since: int = 0
    hint: str = ""


class ResourceStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    condition: Condition
    digest: str = ""  # of the body last applied; "" when never
    instance: str = ""


class InstanceStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance as its site evaluates it: kro's word for its state, and what its blueprint projects.

    `status` and `conditions` are as far as there is data for them; `problem` says what of them cannot be evaluated.
    """

    owner: str  # Kind/name
    state: Literal["ACTIVE", "IN_PROGRESS", "ERROR"]
    status: dict[str, Any] = {}
    conditions: tuple[dict[str, str], ...] = ()  # type, status, reason, message
    problem: str = ""


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person's "leave it alone". `resources` empty means everything at the site."""

    id: str
    reason: str
    until: int  # milliseconds since 1970, node's clock at the time it was made
    by: str
    resources: tuple[str, ...] = ()


class Override(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change that a person at the site laid over the target: a patch as kubectl merges it. Times in milliseconds."""

    id: str
    resource: str  # its key
    patch: dict[str, Any]
    reason: str
    by: str
    at: int
    until: int = 0  # 0: until somebody ends it
    problem: str = ""  # why it is not in effect now


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a target goes no further: in which phase (prepare, apply, readiness, verify …) and because of what."""

    phase: str
    resource: str = ""  # its key; "" when no single one is to blame
    reason: str = ""
    message: str = ""
    hint: str = ""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a node is with its newest target. `phase` is one of PHASES; a reader takes any other as not ended."""

    phase: str
    held: int = 0  # generation of the target the machine is kept at; 0: none
    last_good: int = 0  # generation; 0: none yet
    cause: Cause | None = None
    second: Cause | None = None  # why going back does not work either
    bad: tuple[str, ...] = ()  # digests gone back from and not tried again, newest first
    next: str = ""  # what happens next, or what a person can do


class GateStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gate that windows name: open or not, by which windows, until when (ms since 1970; 0: no end, or never)."""

    gate: str
    open: bool
    windows: tuple[str, ...]
    until: int = 0
    message: str = ""


class BridgeWay(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way of a bridge: received = sent + dropped + waiting. `lag`: seconds the oldest has waited; `bytes` are waiting."""

    received: int = 0
    sent: int = 0
    waiting: int = 0
    bytes: int = 0
    lag: int = 0
    per_s: float = 0.0  # messages sent a second
    dropped: dict[str, int] = {}  # by reason


class BridgeStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a bridge does. `since` in milliseconds since 1970: when it was connected, or lost; `ways` are out and in."""

    name: str
    connected: bool = False
    since: int = 0
    reason: str = ""
    problem: str = ""
    ways: dict[str, BridgeWay] = {}


class RebootReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last restart that the agent brought about: when it went and was back (ms since 1970, by the node's clock), for
    what, and what came of it."""

    at: int
    back_at: int
    causes: tuple[str, ...]
    outcome: Literal["done", "still-needed", "not-converged", "failed"]
    message: str = ""


class RebootStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a machine needs a restart. Times in ms since 1970; 0: unknown."""

    needed: tuple[str, ...] = ()  # why, or who wants it; empty: it is not
    since: int = 0
    waits: str = ""  # what for
    next: int = 0  # the next chance
    announced: int = 0  # when it goes
    given_up: tuple[str, ...] = ()  # what restarts did not help against
    last: RebootReport | None = None


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is, for any reader. `state` is the site's one word; `counts` are conditions by type."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    boot_id: str
    sequence: int  # grows with every status of a boot
    at: int
    state: Literal["Converged", "Progressing", "Held", "Degraded", "NoTarget"]
    epoch: int = 0
    generation: int = 0
    digest: str = ""  # of the target held
    observed_digest: str = ""  # equals `digest` exactly when everything observed is as the target says
    last_good: str = ""  # digest of the last stable target
    resources: tuple[ResourceStatus, ...] = ()
    counts: dict[str, int] = {}
    holds: tuple[Hold, ...] = ()
    problems: tuple[str, ...] = ()  # refused targets, local damage: what a person should look at
    progress: Progress | None = None  # None without a target, and from versions before there was this
    instances: tuple[InstanceStatus, ...] = ()  # those that are evaluated at the site
    gates: tuple[GateStatus, ...] = ()  # a gate not named here is always open
    overrides: tuple[Override, ...] = ()
    bridges: tuple[BridgeStatus, ...] = ()
    reboot: RebootStatus | None = None  # None: nothing to say of restarts
    kind: str = "status"
    v: int = 1


class StreamAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """U1: the hub has committed every sequence up to and including `upto`; only this lets the node delete.

    Above `upto` the hub holds everything up to `high` but `missing`. The node deletes only when `chain` is its own at
    `upto`: a hub that speaks of another history deletes nothing here.
    """

    stream: str
    incarnation: str
    upto: int
    credit: int = 8  # batches the node may have unacknowledged
    missing: tuple[tuple[int, int], ...] = ()  # (from, to), ascending
    fork: bool = False  # the chain does not fit: start a new incarnation after `upto`
    high: int = 0
    chain: str = ""  # at `upto`, 64 hex digits; "" when the hub holds nothing of this incarnation


class Resync(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a hello: what the hub believes."""

    nonce: str
    epoch: int = 0
    generation: int = 0
    digest: str = ""
    conflict: bool = False  # the site is ahead of the hub: a person decides


class Down(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hub to one node: any of acknowledgements, the answer to a hello, and the hub's time (milliseconds)."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    time: int
    acks: tuple[StreamAck, ...] = ()
    resync: Resync | None = None  # None when this answers no hello
    kind: str = "down"
    v: int = 1


class HubState(msgspec.Struct, frozen=True):
    """A hub is there. `session` distinguishes its connections, so that an old will does not hide a new hub."""

    fleet: FleetName
    online: bool
    epoch: int
    time: int
    session: str
    kind: str = "hub"
    v: int = 1


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the streams p0 to p2: a target report, an alarm, an event, a state."""

    kind: str  # TargetReport, Alarm, Audit, Event, State
    at: int  # milliseconds since 1970, node's clock
    body: dict[str, Any]


class TargetReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ladder: A1 received and verified, A2 accepted or rejected, A3 converged, degraded or rolled back, A4 stable."""

    level: Literal["A1", "A2", "A3", "A4"]
    epoch: int
    generation: int
    digest: str
    outcome: Literal["received", "accepted", "rejected", "converged", "degraded", "rolled-back", "stable"]
    reason: str = ""
    message: str = ""
    observed_digest: str = ""
    phase: str = ""  # in which it was rejected or gone back from
    resource: str = ""  # the culprit's key
    hint: str = ""  # what a person can do


M = TypeVar("M", Hello, Status, Down, HubState)

TYPES: Final[dict[type, tuple[str, str]]] = {  # message type: (payload type, channel)
    Hello: (envelope.payload_type("hello"), "hello"),
    Status: (envelope.payload_type("status"), "status"),
    Down: (envelope.payload_type("down"), "dn"),
    HubState: (envelope.payload_type("hub"), "hub"),
}


def seal(message: Hello | Status | Down | HubState, signer: envelope.Signer) -> bytes:
    kind, _ = TYPES[type(message)]
    return envelope.seal(kind, strict.encode(message), [signer])


def open_message(data: bytes, type_: type[M], keys: dict[str, bytes]) -> M:
    """Return a signed message of `type_`; `keys` are those its sender may have signed with, by name."""
    kind, channel = TYPES[type_]
    payload = envelope.open_sealed(data, kind, keys, limit=topics.TABLE[channel].limit)
    message = strict.decode(payload, type_, limit=len(payload))
    if message.v != 1:
        raise WireError(f"{message.kind} version {message.v} is not understood here", reason="UnknownVersion")
    return message


def encode_presence(presence: Presence) -> bytes:
    return strict.encode(presence)


def decode_presence(data: bytes) -> Presence:
    return strict.decode(data, Presence, limit=topics.TABLE["presence"].limit)
