"""The encodings of readings, records and batches: what goes in comes out, and nothing else comes out."""

import contextlib
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_protocol.errors import MisuseError, WireError
from holdfast_protocol.wire import batch, contents, envelope, readings, records
from holdfast_protocol.wire.batch import Group
from holdfast_protocol.wire.compression import compress, decompress
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import MAX_RAW, MAX_TIME, Reading
from support.streams import SIGNER, STAMP, sealed

KEYS = {SIGNER.keyid: SIGNER.public}
NAMES = st.sampled_from(["press-1", "press-2", "temperature", "Größe", ""]) | st.text(max_size=20)
DECIMALS = st.builds(lambda n, k: n / 10**k, st.integers(-(10**7), 10**7), st.integers(0, 6))
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-1000, 1000),
    st.floats(allow_nan=True, allow_infinity=True),
    DECIMALS,
    st.just(-0.0),
    st.booleans(),
    st.text(max_size=30),
)
READINGS = st.lists(
    st.builds(
        Reading,
        NAMES,
        NAMES,
        st.integers(-MAX_TIME, MAX_TIME) | st.integers(1_700_000_000_000, 1_700_000_100_000),
        VALUES,
        NAMES,
        st.sampled_from(["good", "bad", "stale"]),
    ),
    min_size=1,
    max_size=60,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
RECORDS = st.lists(
    st.builds(Record, st.text(max_size=20), st.integers(0, 2**53), st.dictionaries(st.text(), JSON, max_size=4)),
    min_size=1,
    max_size=20,
)
GROUP = readings.encode([Reading("press-1", "temperature", 1_700_000_000_000 + n, n / 10) for n in range(50)])[0]
BATCH = sealed([Group(GROUP.count, "readings", STAMP, GROUP.blob)])


def bits(reading: Reading) -> tuple[Any, ...]:
    """Return what tells two readings apart, where == does not: the type of the value, and a float's bits."""
    value = reading.value
    exact = struct.pack("<d", value) if isinstance(value, float) else value
    return (reading.device, reading.metric, reading.unit, reading.quality, type(value), reading.time, exact)


def decoded(group: readings.Encoded) -> list[Reading]:
    return list(readings.readings(readings.decode(decompress(group.blob, limit=MAX_RAW), group.count)))


@given(READINGS)
def test_readings_come_back_bit_equal_series_by_series(given_readings: list[Reading]) -> None:
    came = [bits(each) for group in readings.encode(given_readings) for each in decoded(group)]
    order = {bits(each)[:5]: place for place, each in reversed(list(enumerate(given_readings)))}
    assert came == sorted((bits(each) for each in given_readings), key=lambda each: order[each[:5]])


@given(st.lists(DECIMALS, min_size=1, max_size=300))
def test_floats_come_back_bit_equal_however_they_travel(values: list[float]) -> None:
    (group,) = readings.encode([Reading("d", "m", n, value) for n, value in enumerate(values)])
    assert [struct.pack("<d", each.value) for each in decoded(group)] == [struct.pack("<d", value) for value in values]


@given(RECORDS)
def test_records_come_back_equal(given_records: list[Record]) -> None:
    came = []
    for group in records.encode(given_records):
        came += records.decode(decompress(group.blob, limit=MAX_RAW), group.count)
    assert came == given_records


def test_no_prefix_of_a_batch_is_one() -> None:
    for length in range(len(BATCH)):
        with pytest.raises(WireError):
            batch.open_batch(BATCH[:length], KEYS)


@given(st.integers(0, len(BATCH) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_batch_is_accepted_as_another(place: int, change: int) -> None:
    changed = bytearray(BATCH)
    changed[place] ^= change
    with contextlib.suppress(WireError):  # the few that pass mean the same, like another name for the right key
        assert batch.open_batch(bytes(changed), KEYS) == batch.open_batch(BATCH, KEYS)


def payload_of(sealed_batch: bytes) -> bytes:
    return envelope.open_packed(sealed_batch, batch.KIND, KEYS, limit=len(sealed_batch))


@settings(max_examples=400)
@given(st.data())
def test_a_malformed_batch_of_a_known_node_is_a_wire_error_or_a_batch(data: st.DataObject) -> None:
    payload = bytearray(payload_of(BATCH))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))] if data.draw(st.booleans()) else payload
    try:
        opened = batch.open_batch(envelope.pack(batch.KIND, bytes(payload), [SIGNER]), KEYS)
    except WireError:
        return
    for content in contents.contents(each for each in opened.segments if isinstance(each, Group)):
        assert isinstance(content, contents.Readings | contents.Records | contents.Unreadable)


@settings(max_examples=400)
@given(st.data())
def test_a_malformed_group_is_unreadable_or_readings_within_bounds(data: st.DataObject) -> None:
    raw = bytearray(decompress(GROUP.blob, limit=MAX_RAW))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    try:
        series = readings.decode(bytes(raw), GROUP.count)
    except WireError:
        return
    assert sum(len(each.times) for each in series) == GROUP.count
    for reading in readings.readings(series):  # what was accepted can be sent on: it is within every bound
        assert readings.encode([reading])


def test_no_prefix_of_a_group_is_one() -> None:
    for length in range(len(GROUP.blob)):
        with pytest.raises(WireError):
            decompress(GROUP.blob[:length], limit=MAX_RAW)


@given(st.binary(max_size=200))
def test_no_noise_is_anything_but_a_wire_error(noise: bytes) -> None:
    for read in (
        lambda: decompress(noise, limit=100),
        lambda: readings.decode(noise, 1),
        lambda: records.decode(noise, 1),
    ):
        with contextlib.suppress(WireError):
            read()
    with pytest.raises(WireError):
        batch.open_batch(noise, KEYS)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = compress(bytes(200_000_000))
    with pytest.raises(WireError, match="more than 1048576 bytes"):
        decompress(bomb, limit=MAX_RAW)


def test_the_groups_of_one_batch_are_bounded_together() -> None:
    big = records.encode([Record("Event", 0, {"x": "a" * 100_000})] * 10)[0]
    found = list(contents.contents([Group(big.count, "records", STAMP, big.blob)] * 6))
    assert [type(each) for each in found] == [contents.Records] * 4 + [contents.Unreadable] * 2


@pytest.mark.parametrize(
    "reading",
    [
        Reading("d" * 257, "m", 0, 1),
        Reading("d", "m", 0, 2**63),
        Reading("d", "m", 2**54, 1),
        Reading("d", "m", 0, "x" * 4097),
        Reading("d", "m", 0, "\ud800"),
        Reading("\ud800", "m", 0, 1),
        Reading("d", "m", 1.5, 1),  # type: ignore[arg-type]
        Reading("d", "m", 0, None),  # type: ignore[arg-type]
        Reading("d", 5, 0, 1),  # type: ignore[arg-type]
    ],
    ids=["name", "int", "time", "text", "surrogate", "surrogate-name", "fractional-time", "none", "no-name"],
)
def test_a_reading_the_hub_would_refuse_is_refused_at_the_node(reading: Reading) -> None:
    with pytest.raises(MisuseError):
        readings.encode([reading])


def test_groups_are_split_to_stay_within_their_limits() -> None:
    many = [Reading("d", "m", n, f"{n:04000}") for n in range(5_000)]
    groups = readings.encode(many)
    assert all(each.count <= readings.MAX_ROWS and each.raw <= MAX_RAW for each in groups)
    assert [reading for group in groups for reading in decoded(group)] == many


def test_fields_added_by_a_later_version_are_ignored() -> None:
    fields = msgspec.msgpack.decode(payload_of(BATCH))
    later = msgspec.msgpack.encode([*fields, {"new": "field"}])
    assert batch.open_batch(envelope.pack(batch.KIND, later, [SIGNER]), KEYS) == batch.open_batch(BATCH, KEYS)
