"""Every byte has one meaning, and sizes are bounded before anything is built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_encoded_is_decoded_equal(value: object) -> None:
    assert strict.parse(strict.encode(value), limit=1_000_000) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', "DuplicateKey"),
        (b'{"a":{"b":1,"b":1}}', "DuplicateKey"),
        (b"NaN", "BadJson"),
        (b"[Infinity]", "BadJson"),
        (b"[-Infinity]", "BadJson"),
        (b"[" * 33 + b"]" * 33, "TooDeep"),
        (b'{"a":' * 100_000, "TooDeep"),
        (b'"\xff"', "BadEncoding"),
        (b"", "BadJson"),
        (b"{} {}", "BadJson"),
        (b"'a'", "BadJson"),
        (b"9223372036854775808", "BadNumber"),
        (b"1" * 5000, "BadNumber"),
        (b'"' + b"a" * 1_000_001 + b'"', "TooLarge"),
        (b'"unterminated', "BadJson"),
        (b'{"a":1e999}', "BadNumber"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        strict.parse(data, limit=1_000_000)
    assert caught.value.reason == reason


def test_brackets_inside_text_do_not_count_as_nesting() -> None:
    text = "[{" * 100 + '\\"]}'
    assert strict.parse(strict.encode(text), limit=10_000) == text


def test_nesting_of_thirty_two_is_fine() -> None:
    strict.parse(b"[" * 32 + b"]" * 32, limit=1000)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        strict.parse(data, limit=10_000)
    except WireError as error:
        assert error.reason
