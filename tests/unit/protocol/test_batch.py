"""The batch: its chain, its bounds, and the golden messages of every released version."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import batch, contents, readings
from holdfast_protocol.wire.batch import GENESIS, Group, Tombstone
from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import MAX_ROWS, Reading
from support.streams import SIGNER, STAMP, chain, group, sealed

KEYS = {SIGNER.keyid: SIGNER.public}
GOLDEN = Path(__file__).parents[2] / "wire" / "v1"


def test_the_chain_is_the_hash_that_the_protocol_says() -> None:
    blob = b"blob"
    expected = hashlib.sha256(
        bytes(32) + (7).to_bytes(8, "big") + (3).to_bytes(8, "big") + hashlib.sha256(blob).digest()
    ).digest()
    assert batch.link(GENESIS, 7, 3, blob) == expected


def test_segments_follow_each_other_and_a_tombstone_carries_the_chain_over() -> None:
    first, last = group(1), group(21)
    tombstone = Tombstone(10, 5, "Compacted", b"t" * 32)
    found = list(batch.placed(1, GENESIS, [first, tombstone, last]))
    assert [(each.first, each.last) for each in found] == [(1, 10), (11, 20), (21, 30)]
    assert [each.before for each in found] == [GENESIS, batch.link(GENESIS, 1, 10, first.blob), b"t" * 32]
    assert found[-1].after == batch.link(b"t" * 32, 21, 10, last.blob)


def test_a_batch_comes_back_as_it_was_sealed() -> None:
    opened = batch.open_batch(sealed([group(1), Tombstone(5, 9, "Compacted", b"t" * 32)], high=99), KEYS)
    assert (opened.first, opened.last, opened.high, opened.stream) == (1, 15, 99, "p3")
    assert opened.segments == [group(1), Tombstone(5, 9, "Compacted", b"t" * 32)]


def test_a_batch_of_another_key_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError) as error:
        batch.open_batch(sealed([group(1)], signer=Signer(b"x" * 32), v=9), KEYS)
    assert error.value.reason == "BadSignature"


@pytest.mark.parametrize(
    ("segments", "fields", "reason"),
    [
        ([group(1)], {"v": 2}, "UnknownVersion"),
        ([group(1)], {"kind": "hello"}, "UnknownVersion"),
        ([group(1)], {"after": b"x" * 32}, "BadChain"),
        ([group(1)], {"site": "Site"}, "BadShape"),
        ([group(1)], {"stream": "p4"}, "BadShape"),
        ([group(1)], {"incarnation": "x" * 32}, "BadShape"),
        ([group(1)], {"first": 0}, "BadShape"),
        ([group(1)], {"high": 9}, "BadShape"),
        ([group(1)], {"high": 2**53 + 1}, "BadShape"),
        ([group(1)], {"origin": 1}, "BadShape"),
        ([group(1)], {"before": b"x"}, "BadShape"),
        ([group(1)], {"before": b""}, "BadShape"),
        ([group(1)], {"after": b""}, "BadChain"),
        ([], {"high": 5}, "BadShape"),
        ([Tombstone(0, 1, "Compacted", b"t" * 32)], {"high": 5}, "BadShape"),
        ([Tombstone(1, -1, "Compacted", b"t" * 32)], {}, "BadShape"),
        ([Tombstone(1, 2**63, "Compacted", b"t" * 32)], {}, "BadShape"),
        ([Tombstone(1, 1, "", b"t" * 32)], {}, "BadShape"),
        ([Tombstone(1, 1, "x" * 65, b"t" * 32)], {}, "BadShape"),
        ([Tombstone(1, 1, "Compacted", b"t")], {}, "BadShape"),
        ([Group(MAX_ROWS + 1, "readings", STAMP, b"")], {}, "BadShape"),
        ([Group(1, "readings", STAMP, bytes(readings.MAX_BLOB + 1))], {}, "BadShape"),
        ([Group(1, "pictures", STAMP, b"")], {}, "BadShape"),  # type: ignore[arg-type]
        ([Group(1, "readings", batch.Stamp("b", 0, 2**60), b"")], {}, "BadShape"),
        ([Group(2000, "readings", STAMP, b"")] * 33, {}, "BadShape"),
        ([Tombstone(1, 1, "Compacted", b"t" * 32)] * 1025, {}, "BadShape"),
    ],
)
def test_a_batch_outside_its_bounds_is_refused_with_its_reason(
    segments: list[Any], fields: dict[str, Any], reason: str
) -> None:
    data = sealed(segments, **fields)
    with pytest.raises(WireError) as error:
        batch.open_batch(data, KEYS)
    assert error.value.reason == reason


def test_a_batch_larger_than_its_topic_takes_is_refused_unread() -> None:
    big = sealed([Group(1, "readings", STAMP, bytes(500_000))] * 3)
    with pytest.raises(WireError) as error:
        batch.open_batch(big, KEYS)
    assert error.value.reason == "TooLarge"


def test_the_golden_batch_of_readings_is_still_understood() -> None:
    opened = batch.open_batch((GOLDEN / "batch-readings.bin").read_bytes(), KEYS)
    assert (opened.site, opened.node, opened.stream, opened.first, opened.last) == ("site-1", "node-1", "p3", 1, 13)
    assert (opened.high, opened.origin, opened.historical) == (20, 0, True)
    assert opened.before == GENESIS
    assert opened.after == chain(opened.segments)
    groups = [each for each in opened.segments if isinstance(each, Group)]
    assert [each.stamp for each in groups] == [STAMP] * 2
    assert opened.segments[1] == Tombstone(3, 77, "QuotaExceeded", b"\x07" * 32)
    first, second = contents.contents(groups)
    assert isinstance(first, contents.Readings)
    assert isinstance(second, contents.Readings)
    assert list(readings.readings(first.series)) == [
        Reading("press-1", "temperature", 1_700_000_000_000, 21.5, "Cel"),
        Reading("press-1", "temperature", 1_700_000_001_000, 21.25, "Cel"),
        Reading("press-1", "running", 1_700_000_000_000, True),
        Reading("press-1", "cycles", 1_700_000_000_000, 2**40),
        Reading("press-1", "state", 1_700_000_000_000, "läuft", "", "stale"),
        Reading("press-2", "vibration", 1_700_000_000_007, 0.1 + 0.2, "mm/s"),
        Reading("press-2", "serial", 1_700_000_000_007, -(2**63)),
    ]
    assert list(readings.readings(second.series)) == [Reading("press-1", "cycles", n, n) for n in (1, 2, 3)]


def test_the_golden_batch_of_records_is_still_understood() -> None:
    opened = batch.open_batch((GOLDEN / "batch-records.bin").read_bytes(), KEYS)
    assert (opened.stream, opened.origin, opened.first) == ("p0", 40, 41)
    (content,) = contents.contents(each for each in opened.segments if isinstance(each, Group))
    assert content == contents.Records(
        [
            Record("TargetReport", 1_700_000_000_000, {"level": "A3", "digest": "ab" * 32, "generation": 7}),
            Record("Alarm", 1_700_000_000_001, {"reason": "Größe", "nested": [1, 2.5, None, {"a": False}]}),
        ]
    )
