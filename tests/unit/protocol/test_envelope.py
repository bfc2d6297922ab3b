"""Nothing is read before enough of the right keys have signed exactly these bytes."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Oracle

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import envelope
from support.builders import HUB, NODE, STRANGER

KIND = envelope.payload_type("target")
KEYS = {HUB.keyid: HUB.public, NODE.keyid: NODE.public}


def opened(data: bytes, threshold: int = 1) -> bytes:
    return envelope.open_sealed(data, KIND, KEYS, limit=100_000, threshold=threshold)


@given(st.binary(max_size=500))
def test_what_was_sealed_is_opened_equal(payload: bytes) -> None:
    assert opened(envelope.seal(KIND, payload, [HUB])) == payload
    assert envelope.open_packed(envelope.pack(KIND, payload, [HUB]), KIND, KEYS, limit=10_000) == payload


@given(st.binary(max_size=200))
def test_the_signed_bytes_are_those_of_the_reference_implementation(payload: bytes) -> None:
    assert envelope.pae(KIND, payload) == Oracle(payload, KIND, {}).pae()


@settings(max_examples=200)
@given(st.integers(min_value=0), st.integers(1, 255))
def test_no_changed_byte_is_accepted_as_another_payload(position: int, flip: int) -> None:
    sealed = bytearray(envelope.seal(KIND, b'{"a": "payload"}', [HUB]))
    sealed[position % len(sealed)] ^= flip
    try:
        assert opened(bytes(sealed)) == b'{"a": "payload"}'
    except WireError as error:
        assert error.reason


def test_every_prefix_of_both_encodings_fails_cleanly() -> None:
    for whole, open_it in (
        (envelope.seal(KIND, b"payload", [HUB]), envelope.open_sealed),
        (envelope.pack(KIND, b"payload", [HUB]), envelope.open_packed),
    ):
        for length in range(len(whole)):
            with pytest.raises(WireError):
                open_it(whole[:length], KIND, KEYS, limit=100_000)


def test_a_stranger_s_signature_is_refused_even_under_a_known_key_s_name() -> None:
    sealed = json.loads(envelope.seal(KIND, b"payload", [STRANGER]))
    sealed["signatures"][0]["keyid"] = HUB.keyid
    with pytest.raises(WireError) as caught:
        opened(json.dumps(sealed).encode())
    assert caught.value.reason == "BadSignature"


def test_one_key_signing_twice_does_not_reach_a_threshold_of_two() -> None:
    with pytest.raises(WireError, match="1 valid"):
        opened(envelope.seal(KIND, b"payload", [HUB, HUB]), threshold=2)
    assert opened(envelope.seal(KIND, b"payload", [HUB, NODE]), threshold=2) == b"payload"


def test_one_key_under_two_names_counts_once() -> None:
    keys = {"one": HUB.public, "two": HUB.public}
    sealed = json.loads(envelope.seal(KIND, b"payload", [HUB, HUB]))
    for entry, name in zip(sealed["signatures"], keys, strict=True):
        entry["keyid"] = name
    with pytest.raises(WireError, match="1 valid"):
        envelope.open_sealed(json.dumps(sealed).encode(), KIND, keys, limit=10_000, threshold=2)


def test_a_threshold_of_zero_still_needs_a_signature() -> None:
    with pytest.raises(WireError):
        opened(envelope.seal(KIND, b"payload", []), threshold=0)


def test_another_type_of_message_is_refused_although_it_is_signed() -> None:
    with pytest.raises(WireError) as caught:
        opened(envelope.seal(envelope.payload_type("beacon"), b"payload", [HUB]))
    assert caught.value.reason == "WrongType"


def test_an_oversized_envelope_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError) as caught:
        opened(envelope.seal(KIND, b"x" * 100_000, [HUB]))
    assert caught.value.reason == "TooLarge"


def test_many_signatures_cannot_buy_time() -> None:
    with pytest.raises(WireError) as caught:
        opened(envelope.seal(KIND, b"payload", [STRANGER] * 17))
    assert caught.value.reason == "BadEnvelope"


def test_base64_with_blanks_is_refused() -> None:
    sealed = json.loads(envelope.seal(KIND, b"payload", [HUB]))
    sealed["payload"] = base64.b64encode(b"payload").decode() + "\n"
    with pytest.raises(WireError) as caught:
        opened(json.dumps(sealed).encode())
    assert caught.value.reason == "BadEnvelope"
