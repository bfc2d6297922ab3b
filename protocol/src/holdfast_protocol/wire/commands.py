"""What is said to one device, and what becomes of it: a command until its deadline, or the properties it shall have.

Each is named by an id. A node acts on an id at most once and gives the same answer to it as often as it is asked.
"""

from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import envelope, strict, topics
from holdfast_protocol.wire.levels import is_sayable
from holdfast_protocol.wire.names import FleetName, NodeName, SiteName
from holdfast_protocol.wire.readings import MAX_TIME

MAX_DATA: Final = 64 * 1024  # bytes of JSON in a command, a set of properties, an answer
MAX_DEPTH: Final = 16  # of it
_COMMAND: Final = envelope.payload_type("command")
_REPLY: Final = envelope.payload_type("reply")

Outcome = Literal["answered", "failed", "expired", "delivered"]


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """`deadline` is in milliseconds since 1970, hub's clock; 0 for `desire`, which has none and counts `version`s."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    id: str
    verb: Literal["command", "desire"]
    device: str
    name: str = ""  # of the command
    data: Any = None
    deadline: int = 0
    version: int = 0
    at: int = 0  # when it was ordered, hub's clock
    kind: str = "command"
    v: int = 1


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one command, final but for `delivered`, which is of `desire`. `data` is the device's answer."""

    fleet: FleetName
    site: SiteName
    node: NodeName
    id: str
    outcome: Outcome
    reason: str = ""
    data: Any = None
    at: int = 0  # node's clock
    kind: str = "reply"
    v: int = 1


def depth(value: Any) -> int:
    """Return how deep lists and maps of a JSON value are nested; no more than needed is looked at."""
    level, left = 0, [value]
    while level <= MAX_DEPTH:
        inner: list[Any] = []
        for each in left:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not any(isinstance(each, dict | list) for each in left):
            return level
        level, left = level + 1, inner
    return level


def seal_command(command: Command, signer: envelope.Signer) -> bytes:
    return envelope.seal(_COMMAND, strict.encode(command), [signer])


def open_command(data: bytes, keys: dict[str, bytes]) -> Command:
    """Return a signed command, checked whole. Raises WireError."""
    payload = envelope.open_sealed(data, _COMMAND, keys, limit=topics.TABLE["cmd"].limit)
    command = strict.decode(payload, Command, limit=len(payload))
    _check_version(command.v)
    names = [command.device, *([command.name] if command.verb == "command" else [])]
    if not all(map(is_sayable, names)):
        raise WireError("a name is no name", reason="BadName")
    if not (0 <= command.deadline <= MAX_TIME and 0 <= command.version <= MAX_TIME):
        raise WireError("out of range", reason="BadShape")
    if command.verb == "desire" and not isinstance(command.data, dict):
        raise WireError("properties are a map", reason="BadShape")
    return command


def seal_reply(reply: Reply, signer: envelope.Signer) -> bytes:
    return envelope.seal(_REPLY, strict.encode(reply), [signer])


def open_reply(data: bytes, keys: dict[str, bytes]) -> Reply:
    """Return a node's signed reply. Raises WireError."""
    payload = envelope.open_sealed(data, _REPLY, keys, limit=topics.TABLE["reply"].limit)
    reply = strict.decode(payload, Reply, limit=len(payload))
    _check_version(reply.v)
    return reply


def _check_version(version: int) -> None:
    if version != 1:
        raise WireError(f"version {version} is not understood here", reason="UnknownVersion")
