"""Targets through the inbox into a real database: what is accepted, refused and kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.core.transaction import Transaction
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.store import copies
from holdfast_edge.store.edge import open_edge
from holdfast_edge.store.notices import Notices
from holdfast_edge.store.targets import Targets
from holdfast_edge.store.transactions import Transactions
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire import target, topics
from holdfast_protocol.wire.names import FleetName, ResourceKey, SiteName
from holdfast_protocol.wire.target import Content, resource
from support.builders import HUB, SITE, STRANGER, a_target, file_body
from support.clock import FakeClock
from support.site import TRUST

pytestmark = pytest.mark.anyio


class Node:
    """What a node keeps of targets, opened over a folder."""

    def __init__(self, folder: Path) -> None:
        opened = open_edge(folder)
        self.database: Database = opened.database
        self.damage = opened.damage
        self.targets = Targets(self.database, folder, TRUST)
        self.transactions = Transactions(self.database, folder, self.targets)
        self.notices = Notices(self.database)
        self.clock = FakeClock()
        self.wakes = 0
        self.inbox = Inbox(self.targets, self.clock, wake=self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    async def said(self) -> list[tuple[str, str]]:
        return [(record.body["outcome"], record.body["reason"]) for _, record in await self.notices.waiting()]

    async def reaches(self, stage: Any, wanted: target.Target) -> None:
        await self.transactions.move(Transaction(*wanted.position, wanted.digest, "", stage), at=1)

    @property
    def generation(self) -> int:
        return self.targets.current.generation if self.targets.current else 0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.database.close()


def sealed(wanted: target.Target | None = None, *signers: Any, **fields: Any) -> bytes:
    return target.seal(wanted or a_target(**fields), list(signers or (HUB,)))


async def test_an_accepted_target_is_kept_as_the_bytes_that_came(node: Node, tmp_path: Path) -> None:
    envelope = sealed()
    await node.inbox.take(envelope)
    assert node.generation == 1
    assert (tmp_path / copies.TARGET).read_bytes() == envelope
    with node.database.reading() as connection:
        rows = connection.execute("SELECT envelope, reason FROM targets").fetchall()
        roles = connection.execute("SELECT role, reason FROM roles").fetchall()
    assert rows == [(envelope, "received")]
    assert roles == [("current", "received")]
    assert node.wakes == 1


@pytest.mark.invariant("commit-before-ack")
async def test_a_kill_between_commit_and_acknowledgement_costs_nothing(node: Node, tmp_path: Path) -> None:
    envelope = sealed()
    await node.inbox.take(envelope)
    again = Node(tmp_path)  # as after a kill: nothing was closed, and the broker delivers once more
    assert again.generation == 1
    await again.inbox.take(envelope)
    assert again.targets.problems() == ()
    assert await again.said() == []
    again.database.close()


FORGED = sealed().replace(b'"sig":"', b'"sig":"A', 1)
BAD: dict[str, tuple[bytes, str]] = {
    "stale": (sealed(generation=4), "Stale"),
    "an older epoch": (sealed(generation=9, epoch=0), "BadEpoch"),
    "two of one generation": (sealed(a_target(file_body("other"), generation=5)), "Equivocation"),
    "of a stranger": (sealed(a_target(generation=6), STRANGER), "BadSignature"),
    "unsigned": (target.seal(a_target(generation=6), []), "BadSignature"),
    "for another site": (sealed(site=SiteName("press-02"), generation=6), "WrongSite"),
    "for another fleet": (sealed(fleet=FleetName("other"), generation=6), "WrongSite"),
    "not an envelope": (b"{}", "BadShape"),
    "not JSON": (b"\xff\x00", "BadEncoding"),
    "truncated": (sealed(generation=6)[:-10], "BadJson"),
    "too large": (b" " * (topics.TABLE["target"].limit + 1), "TooLarge"),
    "of a name that fills a status": (sealed(a_target(file_body("x" * 1000), generation=6)), "BadResource"),
    "of features unknown": (sealed(a_target(content=Content(requires=("magic/v9",)), generation=6)), "MissingFeature"),
    "in a circle": (
        sealed(
            a_target(
                content=Content(
                    resources=(
                        resource(file_body("a"), depends_on=(ResourceKey("File/b"),)),
                        resource(file_body("b"), depends_on=(ResourceKey("File/a"),)),
                    )
                ),
                generation=6,
            )
        ),
        "DependencyCycle",
    ),
}


@pytest.mark.invariant("target-never-goes-back")
@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
@pytest.mark.parametrize(("envelope", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_bad_target_is_refused_with_its_reason_and_the_last_good_one_kept(
    node: Node, tmp_path: Path, envelope: bytes, reason: str
) -> None:
    good = sealed(generation=5)
    await node.inbox.take(good)
    await node.inbox.take(envelope)
    assert node.generation == 5
    assert [problem.split(": ")[1] for problem in node.targets.problems()] == [reason]
    assert await node.said() == [("rejected", reason)]
    assert (tmp_path / copies.TARGET).read_bytes() == good
    await node.inbox.take(sealed(generation=7))
    assert (node.generation, node.targets.problems()) == (7, ())


async def test_a_flood_of_bad_ones_is_said_once_a_minute_and_counted(node: Node) -> None:
    for n in range(50):
        await node.inbox.take(b"garbage %d" % n)
    assert len(await node.said()) == 1
    node.clock.advance(61)
    await node.inbox.take(b"more garbage")
    assert len(await node.said()) == 2
    with node.database.reading() as connection:
        assert connection.execute("SELECT sum(count) FROM refused").fetchone() == (51,)


@pytest.mark.invariant("target-never-goes-back")
async def test_the_same_target_again_is_no_news_and_clears_what_was_refused(node: Node) -> None:
    await node.inbox.take(sealed(generation=5))
    await node.inbox.take(sealed(generation=4))
    assert node.targets.problems() != ()
    await node.inbox.take(sealed(generation=5))
    assert (node.generation, node.targets.problems()) == (5, ())


@pytest.mark.invariant("hub-silence-changes-nothing")
async def test_an_empty_retained_message_removes_nothing(node: Node) -> None:
    await node.inbox.take(sealed())
    await node.inbox.take(b"")
    assert (node.generation, node.targets.problems(), await node.said()) == (1, (), [])


async def test_a_target_from_a_newer_key_of_a_later_epoch_goes_before_any_generation(tmp_path: Path) -> None:
    trust = type(TRUST)(TRUST.fleet, SITE, {HUB.keyid: HUB.public}, {HUB.keyid: 2})
    database = open_edge(tmp_path).database
    store = Targets(database, tmp_path, trust)
    first = a_target(generation=900, epoch=2)
    await store.accept(store.open(sealed(first)), sealed(first), at=0, reason="received")
    assert store.current == first
    database.close()


async def test_a_disk_that_refuses_leaves_the_message_unacknowledged(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise TransientError("full", reason="DiskFull")

    monkeypatch.setattr(copies, "write", full)
    with pytest.raises(TransientError):
        await node.inbox.take(sealed())
    monkeypatch.undo()
    await node.inbox.take(sealed())  # delivered again
    assert (tmp_path / copies.TARGET).read_bytes() == sealed()


async def test_a_copy_that_could_not_be_written_is_written_when_its_target_comes_again(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise TransientError("full", reason="DiskFull")

    await node.inbox.take(sealed())
    newer = sealed(a_target(file_body("newer"), generation=2))
    monkeypatch.setattr(copies, "write", full)
    with pytest.raises(TransientError):
        await node.inbox.take(newer)
    monkeypatch.undo()
    await node.inbox.take(newer)
    assert (tmp_path / copies.TARGET).read_bytes() == newer


async def test_a_target_stays_last_good_until_another_is_stable(node: Node, tmp_path: Path) -> None:
    first, second = a_target(file_body("a")), a_target(file_body("b"), generation=2)
    await node.inbox.take(sealed(first))
    await node.reaches("applying", first)
    await node.reaches("stable", first)
    await node.inbox.take(sealed(second))
    await node.reaches("preparing", second)
    assert node.targets.held == first
    again = Node(tmp_path)
    assert (again.generation, again.targets.last_good, again.targets.held) == (2, first.digest, first)
    await again.reaches("applying", second)
    assert (again.targets.last_good, again.targets.held) == (first.digest, second)
    await again.reaches("stable", second)
    with again.database.reading() as connection:
        assert connection.execute("SELECT generation FROM targets").fetchall() == [(2,)]
    again.database.close()


async def test_a_large_target_is_taken_like_a_small_one(node: Node) -> None:
    big = a_target(*(file_body(f"f{n}", f"/srv/{n}", "x" * 500) for n in range(500)))
    await node.inbox.take(sealed(big))
    assert node.targets.current == big
