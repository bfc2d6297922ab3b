"""Whatever a device publishes, the answer is readings that can be stored, or a rejection: never an exception."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_protocol.mapping.convention import readings_of
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.wire import readings as columns
from holdfast_protocol.wire.compression import decompress

NOW = 1_790_000_000_000
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20)
FIELDS = st.sampled_from(["value", "time", "unit", "quality"]) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=6
)
LEVELS = st.sampled_from(["devices", "press-1", "temperature", "", "a"]) | st.text(max_size=4)
TOPICS = st.lists(LEVELS, max_size=4).map("/".join) | st.text(max_size=4).map("devices/a/".__add__)


def check(topic: str, payload: bytes) -> None:
    found = readings_of(topic, payload, NOW)
    if isinstance(found, Rejection):
        assert found.reason
        assert found.message
        return
    assert found
    for group in columns.encode(found):  # raises for what the outbox could not take
        assert columns.decode(decompress(group.blob, limit=columns.MAX_RAW), group.count)


@given(TOPICS, st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_bytes_on_any_topic_are_readings_or_a_rejection(topic: str, payload: bytes) -> None:
    check(topic, payload)


@given(st.sampled_from(["devices/press-1", "devices/press-1/temperature"]), VALUES)
@settings(max_examples=250, deadline=None)
def test_any_json_is_readings_that_can_be_stored_or_a_rejection(topic: str, value: object) -> None:
    check(topic, json.dumps(value).encode())


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter("time".__ne__),
                       st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
                       min_size=1, max_size=8))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_every_value_of_a_flat_object_comes_out_as_it_went_in(content: dict[str, float | int | bool]) -> None:
    found = readings_of("devices/a", json.dumps(content).encode(), NOW)
    assert not isinstance(found, Rejection)
    assert {reading.metric: (type(reading.value), reading.value) for reading in found} == {
        metric: (type(value), value) for metric, value in content.items()
    }
