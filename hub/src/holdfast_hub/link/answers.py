"""What the hub makes of presence, hello and status: rows, and what is to be answered. For the database's thread."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_hub.core.convergence import Desired, is_ahead
from holdfast_hub.store import sites, status, targets
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.messages import Hello, Presence, Resync, Status
from holdfast_protocol.wire.names import NodeName, SiteName

MAX_FACTS: Final = 64
MAX_FACT: Final = 253  # characters of a fact's name or value
MAX_GENERATION: Final = 2**53  # leaves room above for an adoption


class Message(msgspec.Struct, frozen=True):
    """One verified message. `live` false: the broker had kept it."""

    body: Presence | Hello | Status
    live: bool = True


class Answers(msgspec.Struct):
    """What follows from a batch of messages, once it is committed."""

    resyncs: dict[tuple[SiteName, NodeName], Resync] = {}
    facts: set[SiteName] = set()  # sites whose facts changed
    changed: set[SiteName] = set()
    behind: bool = False  # a target was put back into the outbox


def check(message: Hello | Status) -> None:
    """Raise WireError for what is well formed and signed, and still cannot be stored."""
    if not (0 <= message.generation <= MAX_GENERATION and 0 <= message.epoch <= MAX_GENERATION):
        raise WireError("epoch or generation is out of range", reason="BadNumber")
    if isinstance(message, Hello):
        words = [*message.facts, *message.facts.values()]
        if len(message.facts) > MAX_FACTS or any(len(word) > MAX_FACT for word in words):
            raise WireError(f"more than {MAX_FACTS} facts, or one over {MAX_FACT} characters", reason="TooLarge")


def take(connection: sqlite3.Connection, messages: Sequence[Message], at: int) -> Answers:
    """Store messages, in the caller's transaction; `at` is now in milliseconds."""
    answers = Answers({}, set(), set())
    for message in messages:
        match message.body:
            case Presence() as presence:
                if status.take_presence(connection, presence):
                    answers.changed.add(presence.site)
            case Hello() as hello:
                _take_hello(connection, hello, answers, at)
            case Status() as said:
                if status.take_status(connection, said, at, live=message.live):
                    answers.changed.add(said.site)
                    _judge_position(connection, said, answers)
    return answers


def _take_hello(connection: sqlite3.Connection, hello: Hello, answers: Answers, at: int) -> None:
    before = status.node(connection, hello.site, hello.node)
    if before is None:
        return
    if before.facts != hello.facts:
        answers.facts.add(hello.site)
    status.take_hello(connection, hello, at)
    answers.changed.add(hello.site)
    desired = _judge_position(connection, hello, answers)
    held = (hello.epoch, hello.generation, hello.digest)
    if desired.generation and not desired.conflict and held != (desired.epoch, desired.generation, desired.digest):
        targets.mark_waiting(connection, [hello.site])
        answers.behind = True
    answers.resyncs[hello.site, hello.node] = Resync(
        hello.nonce, desired.epoch, desired.generation, desired.digest, desired.conflict
    )


def _judge_position(connection: sqlite3.Connection, said: Hello | Status, answers: Answers) -> Desired:
    """Return what the site should hold; a site ahead of us is in conflict from now until a person adopts it."""
    row = targets.newest(connection, said.site)
    known = sites.find(connection, said.site)
    held = (said.epoch, said.generation)
    conflict = known is not None and known.in_conflict
    desired = Desired(row.epoch, row.generation, row.digest, conflict) if row else Desired(conflict=conflict)
    if not is_ahead(desired, targets.floor(connection, said.site), held, said.digest):
        return desired
    if known is not None and (not conflict or held > known.conflict):
        sites.mark_conflict(connection, said.site, held, said.digest)
        answers.changed.add(said.site)
    return msgspec.structs.replace(desired, conflict=True)
