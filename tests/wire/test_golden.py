"""What version 1 said must be understood for ever, and said the same way."""

import base64
import json

import msgspec
import pytest

from holdfast_protocol.errors import WireError
from support.golden import AGAIN, FOLDER, samples

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def test_every_kind_of_message_has_a_golden_one() -> None:
    assert set(NAMES) == set(AGAIN) == set(samples())


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_message_decodes_and_encodes_to_the_same_bytes(name: str) -> None:
    golden = (FOLDER / f"{name}.json").read_bytes()
    assert AGAIN[name](golden) == golden


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"presence"}))
def test_no_changed_byte_of_a_payload_passes(name: str) -> None:
    outer = json.loads((FOLDER / f"{name}.json").read_bytes())
    payload = bytearray(base64.b64decode(outer["payload"]))
    for place in range(0, len(payload), max(len(payload) // 40, 1)):
        payload[place] ^= 1
        changed = msgspec.json.encode({**outer, "payload": base64.b64encode(payload).decode()})
        with pytest.raises(WireError) as refusal:
            AGAIN[name](changed)
        assert refusal.value.reason == "BadSignature"
        payload[place] ^= 1
