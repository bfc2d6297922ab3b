"""What the hub makes of presence, hello and status: rows, and what is to be answered. For the database's thread."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_hub.core.convergence import Desired, is_ahead
from holdfast_hub.link.courier import take_reply
from holdfast_hub.store import heard, sites, status, targets
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.commands import Reply
from holdfast_protocol.wire.messages import Hello, Presence, Resync, Status
from holdfast_protocol.wire.names import NodeName, SiteName

MAX_FACTS: Final = 64
MAX_FACT: Final = 253  # characters of a fact's name or value
MAX_WORD: Final = 64  # characters of a boot id, a session, a nonce, a version, a stream or its incarnation
MAX_GENERATION: Final = 2**53  # and of a sequence; leaves room above for an adoption


class Message(msgspec.Struct, frozen=True):
    """One verified message. `live` false: the broker had kept it."""

    body: Presence | Hello | Status | Reply
    live: bool = True


class Answers(msgspec.Struct):
    """What follows from a batch of messages, once it is committed."""

    resyncs: dict[tuple[SiteName, NodeName], Resync] = {}
    facts: set[SiteName] = set()  # sites whose facts changed
    changed: set[SiteName] = set()
    behind: bool = False  # a target was put back into the outbox


def check(message: Presence | Hello | Status) -> None:
    """Raise WireError for what is well formed and signed, and still cannot be stored."""
    named = [message.boot_id]
    if not isinstance(message, Status):
        named += [message.session, message.agent]
    if isinstance(message, Hello):
        _check_hello(message)
        named.append(message.nonce)
    if any(len(word) > MAX_WORD for word in named):
        raise WireError(f"a name of over {MAX_WORD} characters", reason="TooLarge")
    if not isinstance(message, Presence) and not (_fits(message.generation) and _fits(message.epoch)):
        raise WireError("epoch or generation is out of range", reason="BadNumber")


def _check_hello(hello: Hello) -> None:
    for name, state in hello.streams.items():
        if len(name) > MAX_WORD or len(state.incarnation) > MAX_WORD:
            raise WireError(f"a stream named by over {MAX_WORD} characters", reason="TooLarge")
        if not (_fits(state.low) and _fits(state.high) and _fits(state.acked)):
            raise WireError("a sequence is out of range", reason="BadNumber")
    words = [*hello.facts, *hello.facts.values()]
    if len(hello.facts) > MAX_FACTS or any(len(word) > MAX_FACT for word in words):
        raise WireError(f"more than {MAX_FACTS} facts, or one over {MAX_FACT} characters", reason="TooLarge")


def _fits(number: int) -> bool:
    return 0 <= number <= MAX_GENERATION


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
            case Reply() as reply:
                take_reply(connection, reply, at)
                answers.changed.add(reply.site)
            case Status() as said:
                if status.take_status(connection, said, at, live=message.live):
                    answers.changed.add(said.site)
                    _judge_position(connection, said, answers)
    return answers


def _take_hello(connection: sqlite3.Connection, hello: Hello, answers: Answers, at: int) -> None:
    before = status.node(connection, hello.site, hello.node)
    if before is None:
        return
    verdict, ended = heard.take_hello(connection, hello)
    if verdict == "old":  # delivered late, or replayed: what was said since stands
        return
    if verdict == "returned":
        status.add_problem(
            connection,
            site=hello.site,
            node=hello.node,
            channel="hello",
            reason="Duplicate",
            message=f"boots {ended} and {hello.boot_id} take turns: two agents have this name, or a disk was copied",
            at=at,
        )
    if before.facts != hello.facts:
        answers.facts.add(hello.site)
    status.take_hello(connection, hello, at)
    answers.changed.add(hello.site)
    desired = _judge_position(connection, hello, answers)
    held = (hello.epoch, hello.generation, hello.digest)
    if held == (desired.epoch, desired.generation, desired.digest):
        targets.mark_held(connection, hello.site)
    elif desired.generation and not desired.conflict and targets.mark_lagging(connection, [hello.site], at):
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
