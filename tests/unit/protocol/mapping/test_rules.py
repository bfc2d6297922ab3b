"""Rules: topic and payload in, readings or a rejection with its place out."""

import json
from typing import Any

import cbor2
import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.mapping.compiled import Mapper, Taken
from holdfast_protocol.mapping.formats import Csv, Format, Reader
from holdfast_protocol.mapping.patterns import Pattern
from holdfast_protocol.mapping.rules import Range, Rule
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.wire.readings import Reading

NOW = 1_790_000_000_000


def taken(rules: Rule | list[Rule], topic: str, payload: Any, reader: Reader | None = None) -> Taken:
    found = mapped(rules, topic, payload, reader)
    assert isinstance(found, Taken), found
    return found


def refused(rules: Rule | list[Rule], topic: str, payload: Any, reader: Reader | None = None) -> tuple[str, str]:
    found = mapped(rules, topic, payload, reader)
    assert isinstance(found, Rejection), found
    return found.reason, found.place


def mapped(rules: Rule | list[Rule], topic: str, payload: Any, reader: Reader | None) -> Taken | Rejection:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Mapper(rules if isinstance(rules, list) else [rules], reader or Reader(), "rules").map(topic, raw, NOW)


@pytest.mark.parametrize(
    ("pattern", "topic", "levels"),
    [
        ("plant/{area}/{device}", "plant/a/b", {"area": "a", "device": "b"}),
        ("plant/{area}/{device}", "plant/a/b/c", None),
        ("plant/{area}/{device}", "plant//b", None),
        ("+/dev-{id}.x/#", "z/dev-7.x/q/r", {"id": "7"}),
        ("+/dev-{id}.x/#", "z/dev-7.x", {"id": "7"}),
        ("+/dev-{id}.x/#", "z/dev-7yx", None),
        ("a/{rest#}", "a/b/c\nd", {"rest": "b/c\nd"}),
        ("a/{rest#}", "a", None),
        ("#", "anything/at all", {}),
    ],
)
def test_a_pattern_names_levels(pattern: str, topic: str, levels: dict[str, str] | None) -> None:
    assert Pattern(pattern, "match").levels(topic) == levels


@pytest.mark.parametrize(
    "pattern", ["", "a/#/b", "a/{x}{y}", "{x}/{x}", "a/{rest#}/b", "a/+b", "{X}", "a/{x", "\0", "a/" * 40]
)
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(WireError, match=r"^match: "):
        Pattern(pattern, "match")


def test_plain_templates_read_topic_and_payload() -> None:
    rule = Rule(
        match="plant/{area}/{device}/{metric}",
        device="${topic.area}.${topic.device}",
        value="${payload.v[1].x}",
        time="${payload.t}",
        time_unit="s",
        unit="${payload.?u}",
        quality="${payload.?q}",
    )
    found = taken(rule, "plant/a/p1/temp", {"v": [0, {"x": 2.5}], "t": 1_700_000_000.25, "q": "uncertain"})
    assert found.readings == [Reading("a.p1", "temp", 1_700_000_000_250, 2.5, "", "uncertain")]


def test_what_is_no_path_is_cel_over_the_same_names() -> None:
    rule = Rule(
        match="{device}",
        metric='${payload.kind == "t" ? "temperature" : "other"}',
        value="${double(payload.raw) / 10.0}",
        time="${received - 1000}",
    )
    found = taken(rule, "p1", {"kind": "t", "raw": 420})
    assert found.readings == [Reading("p1", "temperature", NOW - 1000, 42.0)]
    assert type(found.readings[0].value) is float, "a double stays one though it is whole"


def test_each_makes_a_reading_of_every_item_of_a_list_or_map() -> None:
    of_map = Rule(match="{device}", each="${payload.values}", metric="${key}", value="${item}")
    assert [
        (each.metric, each.value) for each in taken(of_map, "p", {"values": {"a": 1, "b": None, "c": "x"}}).readings
    ] == [
        ("a", 1),
        ("c", "x"),
    ]
    of_list = Rule(match="{device}", each="${payload}", metric="${item.n}", value="${item.v}", time="${item.t}")
    sent = [{"n": "a", "v": 1, "t": 5}, {"n": "b", "v": True, "t": 6}]
    assert taken(of_list, "p", sent).readings == [Reading("p", "a", 5, 1), Reading("p", "b", 6, True)]


def test_the_first_rule_whose_pattern_and_condition_fit_takes_the_message() -> None:
    rules = [
        Rule(match="{device}/debug", drop=True),
        Rule(match="{device}/+", when="${payload.ok}", metric="ok", value="${payload.v}"),
        Rule(match="{device}/+", when='${payload.state == "on"}', metric="on", value="${payload.v}", class_="p1"),
    ]
    assert taken(rules, "p/debug", b"\xff").readings == []
    assert taken(rules, "p/x", {"ok": True, "v": 1}).rule == 1
    assert taken(rules, "p/x", {"ok": False, "state": "on", "v": 1}).stream == "p1"
    assert refused(rules, "p/x", {"v": 1}) == ("NoRule", ""), "a condition on what is not there does not hold"
    assert refused(rules, "q", {"v": 1}) == ("NoRule", "")
    assert refused(rules, "p/x", {"ok": 1, "v": 1}) == ("BadCondition", "rules[1].when")


@pytest.mark.parametrize(
    ("rule", "payload", "why"),
    [
        (Rule(match="{device}", metric="m", value="${payload.v}"), {}, ("NoValue", "rules[0].value")),
        (Rule(match="{device}", metric="m", value="${payload.v}"), {"v": None}, ("NoValue", "rules[0].value")),
        (Rule(match="{device}", metric="m", value="${payload.v}"), {"v": [1]}, ("BadValue", "rules[0].value")),
        (Rule(match="{device}", metric="m", value="${payload.v}"), 7, ("NoValue", "rules[0].value")),
        (Rule(match="{device}", metric="${payload.m}"), {"m": "a b"}, ("BadName", "rules[0].metric")),
        (Rule(match="+", device="${payload.d}", metric="m"), {"d": "'; --"}, ("BadName", "rules[0].device")),
        (Rule(match="{device}", metric="m", value="1", time="${payload}"), "soon", ("BadTime", "rules[0].time")),
        (Rule(match="{device}", metric="m", value="${payload}", type="number"), "x", ("WrongType", "rules[0].value")),
        (Rule(match="{device}", metric="m", scale=2), "x", ("BadValue", "rules[0].scale")),
        (Rule(match="{device}", metric="m", range=Range(max=5, outside="reject")), 6, ("OutOfRange", "rules[0].range")),
        (Rule(match="{device}", each="${payload}", metric="${key}", value="${item}"), 5, ("BadValue", "rules[0].each")),
        (
            Rule(match="{device}", metric="m", value="${payload.a + 1.0}"),
            {"a": "x"},
            ("BadExpression", "rules[0].value"),
        ),
        (Rule(match="{device}", metric="m", value="${[payload][0].a.b}"), {"a": {}}, ("NoValue", "rules[0].value")),
    ],
)
def test_a_message_that_does_not_fit_is_rejected_with_the_place_in_the_rules(
    rule: Rule, payload: Any, why: object
) -> None:
    assert refused(rule, "p", payload) == why


@pytest.mark.parametrize(
    ("fields", "payload", "value", "quality"),
    [
        ({"scale": 0.5, "offset": 1}, 21, 11.5, "good"),
        ({"type": "number"}, " 2.5 ", 2.5, "good"),
        ({"type": "number"}, True, 1.0, "good"),
        ({"type": "integer"}, 2.0, 2, "good"),
        ({"type": "boolean"}, "ON", True, "good"),
        ({"type": "text"}, 5, "5", "good"),
        ({"range": Range(min=0)}, -1, -1, "bad"),
        ({"range": Range(max=5, outside="uncertain"), "quality": "bad"}, 9, 9, "bad"),
        ({"range": Range(max=5)}, True, True, "good"),
    ],
)
def test_values_are_made_into_types_scaled_and_judged(
    fields: dict[str, Any], payload: Any, value: Any, quality: str
) -> None:
    (found,) = taken(Rule(match="{device}", metric="m", **fields), "p", payload).readings
    assert (found.value, type(found.value), found.quality) == (value, type(value), quality)


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (Rule(match="a/{x}"), r"rules\[0\]\.device: .*the topic has x"),
        (Rule(match="{device}", metric="${topic.metirc}"), r"rules\[0\]\.metric"),
        (Rule(match="{device}", metric="m", value="${item}"), r"rules\[0\]\.value: .*without each"),
        (Rule(match="{device}", metric="m", value="${payload.}"), r"rules\[0\]\.value"),
        (Rule(match="{device}", metric="m", value="${unknown(1)}"), r"rules\[0\]\.value"),
        (Rule(match="{device}", metric="m x"), r"rules\[0\]\.metric"),
        (Rule(match="{device}", metric="m", when="${received + 1}"), r"rules\[0\]\.when: is int"),
        (Rule(match="{device}", metric="n-${size(payload.a)}"), r"rules\[0\]\.metric: .*takes text"),
        (Rule(match="{device}", metric="m", scale=0), r"rules\[0\]\.scale"),
        (Rule(match="{device}", metric="m", range=Range()), r"rules\[0\]\.range"),
        (Rule(match="{device}", metric="m", unit="x" * 33), r"rules\[0\]\.unit"),
        (Rule(match="{device}", metric="m", quality="fine"), r"rules\[0\]\.quality"),
    ],
)
def test_wrong_rules_are_refused_before_any_message(rule: Rule, place: str) -> None:
    with pytest.raises(WireError, match=place):
        Mapper([rule], Reader(), "rules")


ONE = Rule(match="{device}", metric="m", value="${payload.v}", type="number", time="${payload.t}", time_unit="s")


def test_csv_lines_are_readings_by_header_or_by_columns() -> None:
    expected = [Reading("p", "m", 1_700_000_000_000, 2.5), Reading("p", "m", 1_700_000_001_500, 3.0)]
    assert taken(ONE, "p", b"t,v\r\n1700000000,2.5\r\n1700000001.5,3\r\n", Reader("csv")).readings == expected
    named = Reader("csv", Csv(columns=("t", "v"), separator=";"))
    assert taken(ONE, "p", b"1700000000;2.5\n1700000001.5;3", named).readings == expected


def test_cbor_is_read_like_json_with_times_and_bytes() -> None:
    rule = Rule(match="{device}", each="${payload}", metric="${key}", value="${item}")
    sent = cbor2.dumps({"a": 1.5, "b": b"\x00\x01", "c": True})
    found = taken(rule, "p", sent, Reader("cbor")).readings
    assert [(each.metric, each.value) for each in found] == [("a", 1.5), ("b", "AAE="), ("c", True)]
    timed = cbor2.dumps({"v": 1, "t": cbor2.CBORTag(1, 1_700_000_000)})
    assert taken(
        Rule(match="{device}", metric="m", value="${payload.v}", time="${payload.t}"), "p", timed, Reader("cbor")
    ).readings == [Reading("p", "m", 1_700_000_000_000, 1)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",  # a list of a trillion items
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x81" * 60_000 + b"\x01",
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that is in itself
        b"\xc4\x82\x1a\x7f\xff\xff\xff\x01",  # 10 to the power of two billion
        b"\xc2\x59\xff\x00" + b"\xff" * 0xFF00,  # an integer of 65,280 bytes
        b"\xd8\x23\x63(((",
        b"\xa2aa\x01aa\x02",
        b"\xa1\x01\x02",
        b"\x01\x02",
        b"\xf7",
        b"\xff",
        b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    ],
)
def test_cbor_bombs_are_rejected(payload: bytes) -> None:
    found = mapped(Rule(match="{device}", metric="m"), "p", payload, Reader("cbor"))
    assert isinstance(found, Rejection)
    assert found.reason in ("BadCbor", "BadNumber", "TooLarge", "BadValue")


@pytest.mark.parametrize(
    ("format_", "payload", "why"),
    [
        ("number", b"1e999", "BadNumber"),
        ("number", b"0x10", "BadNumber"),
        ("number", b"9" * 30, "BadNumber"),
        ("number", b"", "Empty"),
        ("csv", b"a,a\n1,2", "BadCsv"),
        ("csv", b"a,b\n1", "BadCsv"),
        ("csv", b"a\n", "Empty"),
        ("csv", b"\xff\n1", "BadEncoding"),
        ("csv", b'a\n"x', "BadCsv"),
        ("csv", b"v\n" + b"1\n" * 2_001, "TooMany"),
        ("raw", b"x" * 3_001, "TooLarge"),
        ("json", b"[" * 60_000, "TooDeep"),
        ("json", b'{"a":1,"a":2}', "DuplicateKey"),
        ("json", b'{"a":1,"\\u0061":2}', "DuplicateKey"),
        ("json", b"x" * 65_537, "TooLarge"),
    ],
)
def test_a_payload_that_is_not_of_its_format_is_rejected(format_: Format, payload: bytes, why: str) -> None:
    assert refused(Rule(match="{device}", metric="m", value="1"), "p", payload, Reader(format_))[0] == why


@pytest.mark.parametrize(
    ("reader", "payload", "said"),
    [
        (Reader("csv"), b"a,b\n1,2\n\n3\n", "line 4 has 1 cell, 2 columns are named"),
        (Reader("csv"), b'a,b\n"1\n1",2\n1,2,3\n', "line 4 has 3 cells, 2 columns are named"),
        (Reader("csv", csv=Csv(columns=["a", "b"])), b"1,2\n3\n", "line 2 has 1 cell, 2 columns are named"),
    ],
)
def test_a_wrong_line_of_csv_is_named_as_it_stands_in_the_message(reader: Reader, payload: bytes, said: str) -> None:
    found = mapped(Rule(match="{device}", metric="m", value="1"), "p", payload, reader)
    assert isinstance(found, Rejection)
    assert (found.reason, found.message) == ("BadCsv", said)


@pytest.mark.parametrize(
    ("rule", "reader", "payload"),
    [
        (Rule(match="{device}", metric="${payload.m}", value="${payload.v}", type="number"), "csv", b"m,v\nt,5\nh,x\n"),
        (
            Rule(match="{device}", each="${payload}", metric="${key}", value="${item}", type="number"),
            "json",
            b'{"t":5,"h":"x"}',
        ),
    ],
)
def test_a_message_is_taken_whole_or_not_at_all(rule: Rule, reader: Format, payload: bytes) -> None:
    assert refused(rule, "p", payload, Reader(reader))[0] == "WrongType"
    assert len(taken(rule, "p", payload.replace(b'"x"', b"6").replace(b"x", b"6"), Reader(reader)).readings) == 2


def test_numbers_and_raw_bytes_are_values() -> None:
    rule = Rule(match="{device}", metric="m")
    assert taken(rule, "p", b" -2.50\n", Reader("number")).readings[0].value == -2.5
    assert taken(rule, "p", b"7", Reader("number")).readings[0].value == 7
    raw = taken(rule, "p", b"\x89PNG", Reader("raw", content_type="image/png"))
    assert raw.readings[0].value == "data:image/png;base64,iVBORw=="
    assert len(str(taken(rule, "p", b"\0" * 3_000, Reader("raw")).readings[0].value)) <= 4096
