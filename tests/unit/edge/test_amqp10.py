"""AMQP 1.0 without a socket: values of every type, a broker's side written by hand, and strangers' bytes."""

import struct
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from holdfast_edge.core.amqp10 import receiver
from holdfast_edge.core.amqp10.message import Content, opened
from holdfast_edge.core.amqp10.performatives import SASL, frame_of, framed, made, part_of
from holdfast_edge.core.amqp10.receiver import HEADER, MAX_FRAME, SASL_HEADER, WINDOW, Broken, Delivery, Receiver, Terms
from holdfast_edge.core.amqp10.types import Described, Malformed, decoded, described, encoded

TERMS = Terms("test", "rabbit.lan", "readings", username="ann", password="secret", credit=4, largest=100)
DATA = b"\x00\x53\x75\xa0\x01"  # and one byte


def login() -> bytes:
    """Return what a broker says until somebody is logged in."""
    mechanisms = framed(made("sasl-mechanisms", sasl_server_mechanisms=("PLAIN", "ANONYMOUS")), SASL)
    return SASL_HEADER + mechanisms + framed(made("sasl-outcome", code=0), SASL) + HEADER


def opening(**attach: Any) -> bytes:
    """Return what it says until the link is there."""
    fields = {"name": "holdfast", "handle": 0, "role": False, "source": made("source", address="readings")}
    said = [
        made("open", container_id="broker", idle_time_out=8000),
        made("begin", remote_channel=0, next_outgoing_id=7, incoming_window=10, outgoing_window=10),
        made("attach", **fields | {"initial_delivery_count": 0} | attach),
    ]
    return b"".join(map(framed, said))


def transfer(number: int | None, payload: bytes = DATA + b"x", **more: Any) -> bytes:
    tag = None if number is None else struct.pack(">I", number)
    return framed(made("transfer", handle=0, delivery_id=number, delivery_tag=tag, **more) + payload)


def ready(terms: Terms = TERMS) -> Receiver:
    it = Receiver(terms)
    assert it.feed(login() + opening()) == []
    assert it.is_ready
    it.output()
    return it


def said(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return the frames in what a receiver sends."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        frame = frame_of(data[:size])
        found.append((frame.kind, frame.fields))
        data = data[size:]
    return found


def test_the_way_to_a_link_is_a_login_a_session_and_credit() -> None:
    it = Receiver(TERMS)
    assert it.output() == SASL_HEADER
    sent = b""
    for byte in login() + opening():
        assert it.feed(bytes([byte])) == []
        sent += it.output()
    init = sent[: int.from_bytes(sent[:4], "big")]
    assert frame_of(init).fields["initial-response"] == b"\0ann\0secret"
    rest = sent[len(init) :]
    assert rest[:8] == HEADER
    frames = said(rest[8:])
    assert [kind for kind, _ in frames] == ["open", "begin", "attach", "flow"]
    assert frames[2][1]["max-message-size"] == 100
    assert frames[3][1] == {
        "next-incoming-id": 7,
        "incoming-window": WINDOW,
        "next-outgoing-id": 0,
        "outgoing-window": WINDOW,
        "handle": 0,
        "delivery-count": 0,
        "link-credit": 4,
    }
    assert it.idle == 8


def test_deliveries_are_settled_in_runs_by_what_became_of_them() -> None:
    it = ready()
    found = it.feed(b"".join(transfer(number) for number in range(4)))
    assert [(each.number, each.body) for each in found] == [(number, DATA + b"x") for number in range(4)]
    found[2].condition = "amqp:decode-error"
    it.settle(found)
    frames = said(it.output())
    assert [(kind, fields.get("first"), fields.get("last")) for kind, fields in frames] == [
        ("disposition", 0, 1),
        ("disposition", 2, 2),
        ("disposition", 3, 3),
        ("flow", None, None),
    ]
    assert [part_of(fields["state"])[0] for _, fields in frames[:3]] == ["accepted", "rejected", "accepted"]
    assert (frames[3][1]["delivery-count"], frames[3][1]["link-credit"]) == (4, 4)


def test_numbers_of_deliveries_begin_again_after_the_last() -> None:
    it = ready()
    found = it.feed(transfer(2**32 - 1) + transfer(0))
    it.settle(found)
    [(_, fields), *_] = said(it.output())
    assert (fields["first"], fields["last"]) == (2**32 - 1, 0)


def test_a_message_in_parts_is_one_and_one_that_is_too_large_keeps_only_its_size() -> None:
    it = ready()
    assert it.feed(transfer(0, b"a" * 60, more=True)) == []
    [one] = it.feed(transfer(None, b"b" * 40))
    assert one == Delivery(0, 100, b"a" * 60 + b"b" * 40)
    assert it.feed(b"".join(transfer(1, b"c" * 60, more=True) for _ in range(50))) == []
    [two] = it.feed(transfer(1, b"d"))
    assert two == Delivery(1, 3001, b"")
    assert it.feed(transfer(2, b"e", more=True) + transfer(2, b"", aborted=True)) == []
    [three] = it.feed(transfer(3, b"f"))
    assert three.body == b"f"


def test_a_sender_that_sends_for_long_is_given_room_in_time() -> None:
    it = ready()
    it.feed(transfer(0, b"", more=True) * (WINDOW // 2))
    [(kind, fields)] = said(it.output())
    assert (kind, fields["incoming-window"], fields["next-incoming-id"]) == ("flow", WINDOW, 7 + WINDOW // 2)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (transfer(0) * 5, "", "more of them than agreed"),
        (transfer(None), "", "without a number"),
        (framed(made("detach", handle=0, error=made("error", condition="amqp:not-found"))), "NoQueue", "link"),
        (framed(made("end", error=made("error", condition="amqp:unauthorized-access"))), "Refused", "session"),
        (framed(made("close", error=made("error", condition="x\x1b[31m"))), "", r"x\x1b"),
        (framed(made("close")), "", "does not say why"),
        (struct.pack(">IBBH", MAX_FRAME + 1, 2, 0, 0), "", "are agreed"),
        (struct.pack(">IBBH", 7, 2, 0, 0), "", "a frame of 7 bytes"),
        (struct.pack(">IBBH", 8, 9, 0, 0), "", "outside of it"),
        (framed(made("open", container_id="again"), SASL), "", "not of this time"),
        (framed(b"\x00\x53\x10\x40"), "", "no list"),
        (framed(made("sasl-outcome", code=0)), "", "from a sender"),
    ],
    ids=lambda each: str(each)[:20],
)
def test_a_broker_that_does_not_keep_to_it_is_left(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Broken) as caught:
        ready().feed(data)
    assert caught.value.reason == reason
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"AMQP\x00\x00\x09\x01", ""),
        (SASL_HEADER + framed(made("sasl-mechanisms", sasl_server_mechanisms=("EXTERNAL",)), SASL), "Refused"),
        (SASL_HEADER + framed(made("sasl-outcome", code=1), SASL), "Refused"),
        (login() + opening(snd_settle_mode=1), "Refused"),
    ],
    ids=["older", "no such login", "wrong password", "settles before us"],
)
def test_a_broker_that_cannot_be_used_is_left(data: bytes, reason: str) -> None:
    with pytest.raises(Broken) as caught:
        Receiver(TERMS).feed(data)
    assert caught.value.reason == reason


def test_a_refused_link_waits_for_the_reason() -> None:
    it = Receiver(TERMS)
    it.feed(login() + opening(source=None))
    assert not it.is_ready
    error = made("error", condition="amqp:not-found", description="nothing there")
    with pytest.raises(Broken, match="amqp:not-found nothing there"):
        it.feed(framed(made("detach", handle=0, closed=True, error=error)))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_whatever_a_stranger_sends_nothing_but_the_end_of_the_connection_comes_of_it(data: bytes, known: int) -> None:
    head = (b"", SASL_HEADER, login(), login() + opening(), login() + opening(), login() + opening())[known]
    body = data if known < 4 else framed(data) if known == 4 else transfer(0, data)
    it = Receiver(TERMS)
    try:
        deliveries = it.feed(head + body)
        for each in deliveries:
            opened(each.body)
    except (Broken, Malformed):
        return


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_changed_byte_of_a_conversation_is_more_than_its_end(data: st.DataObject) -> None:
    whole = bytearray(login() + opening() + transfer(0) + transfer(1, more=True) + transfer(1))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    it = Receiver(TERMS)
    try:
        it.feed(bytes(whole))
    except Broken:
        return


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_malformed(data: bytes) -> None:
    try:
        _, end = decoded(data)
    except Malformed:
        return
    assert end <= len(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x40", None),
        (b"\x56\x01", True),
        (b"\x55\xff", -1),
        (b"\x83" + struct.pack(">q", 5), 5),
        (b"\x82" + struct.pack(">d", 1.5), 1.5),
        (b"\xa1\x02\xc3\xa4", "ä"),
        (b"\xc0\x04\x03\x43\x41\x40", [0, True, None]),
        (b"\xc1\x05\x02\xa1\x01a\x43", {"a": 0}),
        (b"\xe0\x06\x02\xa3\x01a\x01b", ["a", "b"]),
        (b"\x00\xa3\x01x\x45", Described("x", [])),
        (b"\x98" + bytes(16), "00000000-0000-0000-0000-000000000000"),
        (b"\x73\x00\x00\x00A", "A"),
    ],
    ids=str,
)
def test_values_of_every_shape_are_read(data: bytes, value: Any) -> None:
    assert decoded(data) == (value, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa1\x05ab",
        b"\xa1\x01\xff",
        b"\xa3\x01\xc3",
        b"\xff",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",  # four thousand million nothings
        b"\xe0\x03\x03\x41\x41",
        b"\xd0\x00\x00\x00\x04\xff\xff\xff\xff",
        b"\xc1\x02\x01\x40",
        b"\xc1\x03\x02\x45\x40",
        b"\xc0\x03\x01\x40\x40",
        b"\x73\xff\xff\xff\xff",
        b"\x00" * 100,
        b"\xc0\xff\x01" * 60,
    ],
    ids=lambda each: each[:6].hex(),
)
def test_what_is_not_as_it_says_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decoded(data)


def test_a_body_is_bytes_a_text_or_json_and_sections_of_data_are_joined() -> None:
    assert opened(DATA + b"x" + DATA + b"y").body == b"xy"
    assert opened(b"\x00\x53\x77" + encoded("string", "hi")).body == b"hi"
    assert opened(b"\x00\x53\x77\x41").body == b"true"
    assert opened(b"\x00\x53\x76\xc0\x03\x02\x43\x41").body == b"[0,true]"
    assert opened(b"\x00\xa3\x10amqp:data:binary\xa0\x01z").body == b"z"
    assert opened(b"") == Content("", "", "", "", b"", again=False)


def test_a_message_is_known_by_its_id_key_subject_and_whether_it_comes_again() -> None:
    properties = described(0x73, [encoded("ulong", 5), b"\x40", encoded("string", "to"), encoded("string", "sub")])
    annotations = b"\x00\x53\x72\xc1\x15\x02\xa3\x0dx-routing-key\xa1\x03a.b"
    header = described(0x70, [b"\x40", b"\x40", b"\x40", encoded("boolean", True), encoded("uint", 1)])
    assert opened(header + annotations + properties) == Content("5", "a.b", "sub", "to", b"", again=True)
    first = described(0x70, [b"\x40", b"\x40", b"\x40", encoded("boolean", True), encoded("uint", 0)])
    assert not opened(first).again
    assert opened(described(0x70, [b"\x40", b"\x40", b"\x40", encoded("boolean", False)])).again


@pytest.mark.parametrize(
    "data",
    [
        b"\x41",
        b"\x00\x53\x75\x41",
        b"\x00\x53\x73\x41",
        described(0x73, [b"\x40", b"\x40", encoded("uint", 5)]),
        DATA * 200 + b"x",
        b"\x00\x53\x75\xa0\x00" * 101,
    ],
    ids=lambda each: each[:8].hex(),
)
def test_a_message_that_is_none_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        opened(data)


def test_the_end_is_said_once() -> None:
    it = ready()
    it.live()
    it.close()
    it.close()
    assert [kind for kind, _ in said(it.output())] == ["", "close"]
    assert receiver.Receiver(TERMS).output() == SASL_HEADER


def test_a_character_that_is_half_of_one_is_malformed() -> None:
    for value in (b"\x73\x00\x00\xd8\x00", b"\x73\xff\xff\xff\xff"):
        with pytest.raises(Malformed):
            opened(b"\x00\x53\x77" + value)


def test_a_sender_that_takes_its_messages_back_is_given_room_again() -> None:
    it = ready()
    for number in range(10 * TERMS.credit):
        assert it.feed(transfer(number, aborted=True)) == []
    assert it.feed(transfer(99))[0].number == 99


def test_a_message_of_many_empty_parts_holds_none_of_them() -> None:
    it = ready()
    for _ in range(50):
        it.feed(transfer(0, b"", more=True))
    assert not it._parts
    assert it.feed(transfer(None))[0].body == DATA + b"x"
