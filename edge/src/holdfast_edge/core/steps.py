"""Steps: the closed set of things a plan can say."""

from typing import Any, Literal, assert_never

import msgspec

from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class Create(msgspec.Struct, frozen=True, tag="create"):
    """Nothing of it is there."""

    resource: Resource

    @property
    def key(self) -> ResourceKey:
        return self.resource.key


class Update(msgspec.Struct, frozen=True, tag="update"):
    """It is there and differs."""

    resource: Resource
    differences: tuple[str, ...]

    @property
    def key(self) -> ResourceKey:
        return self.resource.key


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Ours and no longer wanted; `body` is what was last applied."""

    key: ResourceKey
    body: dict[str, Any]


class Wait(msgspec.Struct, frozen=True, tag="wait"):
    """Not possible yet: `on` are not as wanted and ready, or for a removal still depend on it."""

    key: ResourceKey
    on: tuple[ResourceKey, ...]
    removing: bool = False


class Held(msgspec.Struct, frozen=True, tag="held"):
    """Possible, but a person said to leave it alone."""

    key: ResourceKey
    hold: str  # id
    reason: str
    removing: bool = False


class Gated(msgspec.Struct, frozen=True, tag="gated"):
    """Possible, but not now: its gate is shut, or somebody there says so. `message` says what it waits for."""

    key: ResourceKey
    gate: str  # targets, drift or reboots
    reason: Literal["Window", "NotNow", "Clock", "Busy"]
    message: str
    until: int | None  # seconds since 1970 when it is judged anew at the latest; None: nobody can say
    removing: bool = False


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """The machine itself is to be restarted; beside the plan. `asks`: the resources that name somebody to ask before."""

    key: ResourceKey
    digest: str  # of the causes
    causes: tuple[str, ...]
    asks: tuple[tuple[ResourceKey, dict[str, Any]], ...] = ()


Change = Create | Update | Remove
Work = Create | Update | Remove | Restart  # what passes gates
Step = Create | Update | Remove | Wait | Held | Gated | Restart


def describe(step: Step) -> str:
    """Return the step as one line for a person."""
    match step:
        case Create(resource):
            return f"create {resource.key}"
        case Update(resource, differences):
            return f"update {resource.key}: {', '.join(differences)}"
        case Remove(key):
            return f"remove {key}"
        case Wait(key, on, removing):
            return f"{key} {'is removed after' if removing else 'waits for'} {', '.join(on)}"
        case Held(key, hold, reason):
            return f"{key} is held by {hold}: {reason}"
        case Gated(key, gate, _, message):
            return f"{key} waits ({gate}): {message}"
        case Restart(_, _, causes):
            return f"restart the machine: {'; '.join(causes)}"
        case _:
            assert_never(step)


def digest_of(change: Work) -> str:
    """Return what a change is an attempt at: the digest wanted, "" for a removal."""
    match change:
        case Restart():
            return change.digest
        case Create(resource) | Update(resource):
            return resource.digest
        case Remove():
            return ""
        case _:
            assert_never(change)
