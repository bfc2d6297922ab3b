"""PUBLISH packets out of a buffer: what is whole and plain is taken, everything else is left where it stands."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.runtime.deliveries import Deliveries
from holdfast_protocol.runtime.mqtt import Delivery
from holdfast_protocol.runtime.publishes import publishes


def packet(each: Delivery, *, with_properties: bool, properties: bytes = b"") -> bytes:
    topic = each.topic.encode()
    body = len(topic).to_bytes(2, "big") + topic
    if each.qos:
        body += each.mid.to_bytes(2, "big")
    if with_properties:
        body += varint(len(properties)) + properties
    body += each.payload
    flags = 0x30 | each.duplicate << 3 | each.qos << 1 | each.retain
    return bytes([flags]) + varint(len(body)) + body


def varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = divmod(value, 128)
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


TOPICS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
DELIVERIES = st.builds(
    lambda topic, payload, qos, retain, duplicate, mid: Delivery(topic, payload, qos, retain, duplicate, mid if qos else 0),
    TOPICS, st.binary(max_size=300), st.integers(0, 1), st.booleans(), st.booleans(), st.integers(1, 65_535),
)  # fmt: skip


@given(st.lists(DELIVERIES, max_size=8), st.booleans(), st.integers(0, 20), st.binary(max_size=200))
def test_whole_packets_are_taken_in_order_and_a_part_of_one_is_left(
    sent: list[Delivery], with_properties: bool, missing: int, properties: bytes
) -> None:
    packets = [packet(each, with_properties=with_properties, properties=properties) for each in sent]
    buffer = b"--" + b"".join(packets)
    short = buffer[: len(buffer) - missing] if missing < len(packets[-1] if packets else b"") else buffer
    found, end = publishes(short, 2, 100, 10_000, with_properties=with_properties)
    whole = len(sent) - (1 if short != buffer else 0)
    assert found == sent[:whole]
    assert end == 2 + sum(map(len, packets[:whole]))


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_taken_or_left_and_never_more_than_there_are(buffer: bytes, with_properties: bool) -> None:
    found, end = publishes(buffer, 0, 5, 1000, with_properties=with_properties)
    assert 0 <= end <= len(buffer)
    assert len(found) <= 5


def test_other_packets_qos_2_and_what_is_over_the_limit_are_left_to_the_library() -> None:
    one = packet(Delivery("a", b"x" * 50, 1, False, False, 7), with_properties=True)
    assert publishes(one, 0, 5, 20, with_properties=True) == ([], 0)
    assert publishes(b"\x34" + one[1:], 0, 5, 1000, with_properties=True) == ([], 0)
    assert publishes(b"\xd0\x00" + one, 0, 5, 1000, with_properties=True) == ([], 0)
    assert publishes(b"\x32\x05\x00\x00\x00\x01\x00", 0, 5, 1000, with_properties=True) == ([], 0), (
        "an alias for a topic"
    )
    assert publishes(b"\x32\x06\x00\x01a\x00\x00\x00", 0, 5, 1000, with_properties=True) == ([], 0), "no identifier"


def test_properties_of_the_user_are_read_whatever_stands_in_and_beside_them() -> None:
    text = "\ufeffa\0".encode()
    odd = b"\x26" + len(text).to_bytes(2, "big") + text + b"\x00\x01\xff"
    others = b"\x01\x01\x02\0\0\0\x05\x03\0\x01t\x08\0\x01r\x09\0\x01c\x0b\x81\x01\x23\0\x01"
    sent = Delivery("a", b"x", 1, False, False, 7)
    for properties in (odd, others + odd):
        whole = packet(sent, with_properties=True, properties=properties)
        ((found,), _) = publishes(whole, 0, 5, 1000, with_properties=True, of_user=True)
        assert found.properties == (("\ufeffa\0", "\ufffd"),)
        assert found.payload == b"x"
    for rubbish in (b"\x26\0\x09a", b"\x26\0\x01a\xff\xff", b"\x7f", b"\x08\xff"):
        whole = packet(sent, with_properties=True, properties=rubbish)
        assert publishes(whole, 0, 5, 1000, with_properties=True, of_user=True)[0] == [sent]


def test_topics_and_properties_count_as_much_as_payloads_of_what_is_held() -> None:
    held = Deliveries(1000, 100)
    held.add([Delivery("t" * 60, b"", 1, False, False, 1)])
    assert held.fullness == 0.6
    held.add([Delivery("t", b"", 1, False, False, 2, (("n" * 20, "v" * 19),))])
    assert (held.fullness, held.room(1)) == (1.0, 0)
    assert len(held.take(5, 60)) == 1
    assert held.fullness == 0.4
    held.take(5, 1000)
    assert held.fullness == 0.0
