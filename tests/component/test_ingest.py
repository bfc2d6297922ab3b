"""Ingest on real SQLite: whatever the way does to batches, each sequence is stored once or counted as lost."""

import math
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast_hub.link.ingest import Ingest
from holdfast_hub.store.streams import StreamStore
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire import records as record_groups
from holdfast_protocol.wire.batch import GENESIS, Group, Tombstone
from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.messages import StreamState
from holdfast_protocol.wire.names import NodeName, SiteName
from holdfast_protocol.wire.readings import MAX_ROWS, Reading, Value, encode
from holdfast_protocol.wire.topics import Address
from support.streams import INCARNATION, NODE, SIGNER, SITE, STAMP, UP, Hub, chain, group, record, sealed

pytestmark = pytest.mark.anyio


def three() -> list[bytes]:
    """Return three consecutive batches of ten readings each."""
    groups = [group(1), group(11), group(21)]
    return [sealed([each], first=1 + 10 * n, before=chain(groups[:n]), high=30) for n, each in enumerate(groups)]


def events(first: int, *numbers: int, before: bytes = GENESIS, high: int = 0) -> tuple[bytes, bytes]:
    """Return a batch of p0 with one record a number, and the chain after it."""
    encoded = record_groups.encode([record(number) for number in numbers])[0]
    segment = Group(encoded.count, "records", STAMP, encoded.blob)
    return sealed([segment], first=first, before=before, stream="p0", high=high), chain([segment], first, before)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 0, 2, 1, 1], [1, 1, 0, 2, 2]])
async def test_any_order_and_any_repetition_stores_each_reading_once(tmp_path: Path, order: list[int]) -> None:
    hub = Hub(tmp_path)
    batches = three()
    for number in order:
        await hub.take(batches[number])
    assert await hub.values() == list(range(1, 31))
    assert await hub.balance() == [(30, 30, 0, 0)]
    hub.database.close()


async def test_batches_that_wait_together_are_one_transaction_and_one_acknowledgement(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    taken = await hub.take(*three(), *three())
    assert [each.readings for each in taken] == [10, 10, 10, 0, 0, 0]
    assert [each.ack.upto if each.ack else None for each in taken] == [None] * 5 + [30]
    hub.database.close()


async def test_a_hole_is_named_until_it_is_filled(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    first, second, third = three()
    ack = await hub.ack(first)
    assert (ack.upto, ack.high, ack.missing) == (10, 10, ())
    ack = await hub.ack(third)
    assert (ack.upto, ack.high, ack.missing) == (10, 30, ((11, 20),))
    assert await hub.balance() == [(30, 20, 0, 10)]
    ack = await hub.ack(second)
    assert (ack.upto, ack.high, ack.missing) == (30, 30, ())
    assert await hub.balance() == [(30, 30, 0, 0)]
    hub.database.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_tombstone_is_a_gap_with_its_reason_and_size(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    tombstone = Tombstone(10, 999, "QuotaExceeded", chain([group(11)], 11, chain([group(1)])))
    ack = await hub.ack(sealed([group(1), tombstone, group(21)]))
    assert ack.upto == 30
    (gap,) = await hub.store.gaps(SITE)
    assert (gap.first, gap.last, gap.size, gap.reason) == (11, 20, 999, "QuotaExceeded")
    assert await hub.balance() == [(30, 20, 10, 0)]
    late = sealed([group(11)], first=11, before=chain([group(1)]), high=30)
    assert (await hub.take(late))[0].readings == 0  # what was given up stays given up
    assert await hub.balance() == [(30, 20, 10, 0)]
    hub.database.close()


async def test_a_tombstone_that_grew_counts_only_what_is_new(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    groups = [group(1), group(11), group(21)]
    await hub.take(sealed([Tombstone(10, 100, "QuotaExceeded", chain(groups[:1]))], high=30))
    await hub.take(sealed([groups[1]], first=11, before=chain(groups[:1]), high=30))
    ack = await hub.ack(sealed([Tombstone(30, 350, "QuotaExceeded", chain(groups))]))
    assert (ack.upto, ack.chain) == (30, chain(groups).hex())
    assert await hub.balance() == [(30, 10, 20, 0)]
    assert sorted((gap.first, gap.last, gap.size) for gap in await hub.store.gaps(SITE)) == [
        (1, 10, 100),
        (21, 30, 250),
    ]
    hub.database.close()


async def test_another_history_under_the_same_name_is_a_fork_and_stores_nothing(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    first, second, _ = three()
    await hub.take(first, second)
    other = group(11, 5)
    forked = sealed([group(1), other])  # a disk rolled back: the same beginning, then something else
    (taken,) = await hub.take(forked)
    assert taken.rejected == "Fork"
    assert taken.ack is not None
    assert (taken.ack.fork, taken.ack.upto, taken.ack.chain) == (True, 10, chain([group(1)]).hex())
    assert await hub.values() == list(range(1, 21))
    (rejected,) = await hub.store.rejected(SITE)
    assert (rejected.reason, rejected.size) == ("Fork", len(forked))
    assert [each.state for each in await hub.store.ledger(SITE)] == ["forked"]
    again = sealed([other], first=11, before=chain([group(1)]), incarnation="ab" * 16, origin=10)
    ack = await hub.ack(again)  # the node goes on under a new incarnation, from where both agree
    assert (ack.upto, ack.incarnation) == (15, "ab" * 16)
    assert [each[:2] for each in await hub.balance()] == [(30, 20), (5, 5)]
    hub.database.close()


@pytest.mark.parametrize(
    "forked",
    [
        sealed([group(21)], first=21, before=b"x" * 32),
        sealed([group(11, 10)], first=11, before=chain([group(1, 10)], 1, b"y" * 32)),
        sealed([group(5, 10)], first=5, before=b"x" * 32),
        sealed([Tombstone(10, 1, "QuotaExceeded", b"z" * 32)], first=11, before=chain([group(1)])),
        sealed([group(1)], origin=0, before=b"x" * 32),
        sealed([group(11)], first=11, origin=10, before=chain([group(1)])),
    ],
    ids=["chain-before", "same-place-other-chain", "other-bounds", "tombstone-chain", "first-chain", "other-origin"],
)
async def test_every_kind_of_contradiction_is_a_fork(tmp_path: Path, forked: bytes) -> None:
    hub = Hub(tmp_path)
    await hub.take(*three()[:2])
    assert [each.rejected for each in await hub.take(forked)] == ["Fork"]
    assert await hub.values() == list(range(1, 21))
    hub.database.close()


async def test_a_new_incarnation_supersedes_the_one_before_and_shows_what_was_lost(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    await hub.take(three()[0])
    await hub.take(sealed([group(1)], incarnation="ab" * 16))
    ledger = await hub.store.ledger(SITE)
    assert [(each.state, each.sent, each.stored, each.pending) for each in ledger] == [
        ("superseded", 30, 10, 20),
        ("open", 10, 10, 0),
    ]
    hub.database.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_bad_messages_are_rejected_with_their_reasons_and_their_neighbours_stored(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    first, second, third = three()
    stranger = sealed([group(1)], signer=Signer(b"s" * 32))
    taken = await hub.ingest.take(
        [
            (UP["p3"], first),
            (UP["p3"], b""),
            (UP["p3"], first[:-1]),
            (UP["p3"], stranger),
            (UP["p2"], second),
            (Address("up", SITE, NodeName("node-2"), stream="p3"), second),
            (Address("up", SiteName("site-2"), NODE, stream="p3"), second),
            (UP["p3"], sealed([group(11)], first=11, fleet="others")),
            (UP["p3"], sealed([group(11)], first=11, v=2)),
            (UP["p3"], sealed([group(11)], first=11, after=b"x" * 32)),
            (UP["p3"], sealed([group(1)], first=11, high=5)),
            (UP["p3"], second),
            (UP["p3"], third),
        ]
    )
    assert [each.rejected for each in taken] == [
        "",
        "BadEnvelope",
        "BadEnvelope",
        "BadSignature",
        "WrongTopic",
        "WrongTopic",
        "WrongTopic",
        "WrongFleet",
        "UnknownVersion",
        "BadChain",
        "BadShape",
        "",
        "",
    ]
    assert await hub.balance() == [(30, 30, 0, 0)]
    assert len(await hub.store.rejected(SITE)) == 9
    hub.database.close()


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_group_nobody_can_read_is_kept_aside_and_counted_and_holds_up_nothing(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    poison = Group(10, "readings", STAMP, b"poison")
    ack = await hub.ack(sealed([group(1), poison, group(21)]))
    assert ack.upto == 30
    assert await hub.balance() == [(30, 20, 10, 0)]
    assert [(gap.first, gap.last, gap.reason) for gap in await hub.store.gaps(SITE)] == [(11, 20, "Unreadable")]
    assert [each.payload for each in await hub.store.rejected(SITE)] == [b"poison"]
    hub.database.close()


async def test_only_the_newest_rejected_messages_are_kept(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    await hub.take(*[b"%d" % n for n in range(1100)])
    newest = await hub.store.rejected(SITE, limit=5000)
    assert (len(newest), newest[0].payload) == (1000, b"1099")
    hub.database.close()


async def test_records_are_read_in_order_and_once_however_they_came(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    first, after = events(1, 1, 2, high=6)
    second, after_second = events(3, 3, 4, before=after, high=6)
    third, _ = events(5, 5, 6, before=after_second)
    seen = []
    for each in (third, first, third, first, second, second):
        (taken,) = await hub.take(each, stream="p0")
        seen.append([entry.body["n"] for entry in taken.records])
    assert seen == [[], [1, 2], [], [], [3, 4, 5, 6], []]
    stored = await hub.store.records_after(0)
    assert [each.record.body["n"] for each in stored] == [1, 2, 3, 4, 5, 6]
    assert [each.record for each in await hub.store.records_after(stored[3].position)] == [record(5), record(6)]
    assert [each.record for each in await hub.store.records(SITE, "p0", "Event", limit=2)] == [record(6), record(5)]
    assert await hub.store.records(SITE, "p2") == []
    hub.database.close()


async def test_a_hub_put_back_to_an_older_copy_asks_for_what_it_lost(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    groups = [group(1), group(11)]
    await hub.take(sealed([groups[0]], high=30))
    # The node had an answer up to 20 from the hub that was lost; it no longer has those rows.
    released = Tombstone(10, 0, "Released", chain(groups))
    ack = await hub.ack(sealed([group(21)], first=21, before=chain(groups)))
    assert ack.missing == ((11, 20),)
    ack = await hub.ack(sealed([released], first=11, before=b"", high=30))
    assert (ack.upto, ack.missing) == (30, ())
    assert await hub.balance() == [(30, 20, 10, 0)]
    hub.database.close()


async def test_a_hello_is_answered_with_what_is_stored_and_teaches_how_much_is_to_come(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    await hub.take(three()[0])
    states = {"p3": StreamState(INCARNATION, 1, 77, 0), "p2": StreamState("ab" * 16, 1, 5, 0)}
    (ack,) = await hub.ingest.greet(SITE, NODE, states)
    assert (ack.stream, ack.upto) == ("p3", 10)
    assert await hub.balance() == [(77, 10, 0, 67)]
    hub.database.close()


async def test_every_value_is_found_again_as_it_was(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    values: list[Value] = [1, 2**63 - 1, -(2**63), 1.5, -0.0, math.inf, 1e300, 0.1, True, False, "ok", ""]
    given = [Reading("d", f"m{n}", 1000 + n, value, "Cel", "good") for n, value in enumerate([*values, math.nan])]
    encoded = encode(given)[0]
    await hub.take(sealed([Group(encoded.count, "readings", STAMP, encoded.blob)]))
    found = await hub.readings.find(SITE)
    assert [(type(each.value), each.value) for each in found[:-1]] == [(type(value), value) for value in values]
    assert math.copysign(1, float(found[4].value)) == -1
    assert isinstance(found[-1].value, float)
    assert math.isnan(found[-1].value)
    hub.database.close()


async def test_readings_are_found_by_device_metric_and_time_newest_first_to_the_limit(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    given = [Reading(f"d{n % 2}", f"m{n % 3}", n, n) for n in range(120)]
    encoded = encode(given)[0]
    await hub.take(sealed([Group(encoded.count, "readings", STAMP, encoded.blob)]))
    find = hub.readings.find
    assert [each.value for each in await find(SITE, limit=3)] == [117, 118, 119]
    assert [each.value for each in await find(SITE, "d1", "m0")] == list(range(3, 120, 6))
    assert [each.value for each in await find(SITE, "d1", since=9, until=15)] == [9, 11, 13]
    assert [each.value for each in await find(SITE, metric="m2", until=9)] == [2, 5, 8]
    assert await find("site-2") == []
    hub.database.close()


@pytest.mark.invariant("commit-before-ack")
async def test_on_a_full_disk_nothing_is_acknowledged_and_later_everything_is_stored(tmp_path: Path) -> None:
    schema = migrations("holdfast_hub.store", "schema_streams")
    random.seed(1)
    groups = [
        Group(each.count, "readings", STAMP, each.blob)
        for each in encode([Reading("d", "m", n, random.random()) for n in range(20_000)])
    ]
    batches = [
        sealed([each], first=1 + MAX_ROWS * n, before=chain(groups[:n]), high=20_000) for n, each in enumerate(groups)
    ]
    database = Database(tmp_path / "readings.db", schema, max_bytes=400_000)
    ingest = Ingest(StreamStore(database), lambda site, node: {SIGNER.keyid: SIGNER.public})
    stored = 0
    for each in batches:
        try:
            (taken,) = await ingest.take([(UP["p3"], each)])
        except TransientError as error:
            reason = error.reason
            break
        assert taken.ack is not None
        stored = taken.ack.upto
    assert reason == "DiskFull"
    database.close()
    hub = Hub(tmp_path)
    assert await hub.balance() == [(20_000, stored, 0, 20_000 - stored)]
    await hub.take(*batches)
    assert await hub.balance() == [(20_000, 20_000, 0, 0)]
    hub.database.close()


KILLED = """
import sys, anyio
from pathlib import Path
from support.streams import Hub, chain, group, sealed
async def main():
    hub = Hub(Path(sys.argv[1]))
    before, first = bytes(32), 1
    while True:
        segment = group(first)
        (taken,) = await hub.take(sealed([segment], first=first, before=before))
        before, first = chain([segment], first, before), first + 10
        print(taken.ack.upto, flush=True)
anyio.run(main)
"""


@pytest.mark.invariant("commit-before-ack")
async def test_a_kill_between_commit_and_acknowledgement_stores_nothing_twice(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(4):  # each run sends everything again from the beginning, as a node would that heard nothing
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert child.stdout is not None
        for _ in range(10):
            acknowledged = max(acknowledged, int(child.stdout.readline()))
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, child.stdout.read().split("\n")[:-1])])
        child.wait()
        child.stdout.close()
    hub = Hub(tmp_path)
    values = await hub.values()
    assert values == list(range(1, len(values) + 1))
    assert len(values) - acknowledged in (0, 10)
    ((_, stored, _, _),) = await hub.balance()
    assert stored == len(values)
    hub.database.close()


async def test_a_stream_of_a_thousand_holes_costs_a_batch_no_more_than_one_of_none(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    part = Group(1, "readings", STAMP, encode([Reading("d", "m", 1, 1)])[0].blob)
    await hub.take(sealed([part], first=5001, before=b"\x01" * 32, high=6000))
    with hub.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO ranges VALUES (1, ?, ?, NULL, NULL)", [(2 * n, 2 * n) for n in range(1, 2000)]
        )
    looked = 0

    def step() -> int:
        nonlocal looked
        looked += 1
        return 0

    with hub.database.reading() as connection:
        connection.set_progress_handler(step, 100)
    lost = Tombstone(1, 10, "Overflow", b"\x03" * 32)
    answers = await hub.take(
        sealed([part], first=5500, before=b"\x02" * 32, high=6000), sealed([lost], first=5600, before=b"\x04" * 32)
    )
    with hub.database.reading() as connection:
        connection.set_progress_handler(None, 0)
    assert [each.rejected for each in answers] == ["", ""]
    assert looked < 30
    hub.database.close()
