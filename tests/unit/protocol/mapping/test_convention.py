"""What devices publish becomes readings, or a rejection that says why."""

import pytest

from holdfast_protocol.errors import InputError
from holdfast_protocol.mapping.convention import prefixes, readings_of
from holdfast_protocol.mapping.formats import MAX_PAYLOAD
from holdfast_protocol.mapping.values import MAX_METRICS, MAX_TEXT, Rejection
from holdfast_protocol.wire.readings import Reading

NOW = 1_790_000_000_000


def readings(topic: str, payload: str | bytes) -> list[Reading]:
    found = readings_of(topic, payload if isinstance(payload, bytes) else payload.encode(), NOW)
    assert isinstance(found, list), found
    return found


def reason(topic: str, payload: str | bytes) -> str:
    found = readings_of(topic, payload if isinstance(payload, bytes) else payload.encode(), NOW)
    assert isinstance(found, Rejection), found
    return found.reason


@pytest.mark.parametrize(
    ("payload", "value"),
    [("21.5", 21.5), ("7", 7), ("true", True), ('"open"', "open"), (" -0.0 ", -0.0), ('""', ""), ('"é"', "é")],
)
def test_a_bare_value_is_a_reading_of_the_metric_in_its_topic(payload: str, value: object) -> None:
    (reading,) = readings("devices/press-1/temperature", payload)
    assert reading == Reading("press-1", "temperature", NOW, value)  # type: ignore[arg-type]
    assert type(reading.value) is type(value)


def test_an_object_with_a_value_may_say_time_unit_and_quality() -> None:
    text = '{"value":3,"time":1700000000123,"unit":"°C","quality":"uncertain","else":[1]}'
    assert readings("devices/a/b", text) == [Reading("a", "b", 1_700_000_000_123, 3, "°C", "uncertain")]


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("0", 0),
        ("1700000000123.0", 1_700_000_000_123),
        ('"1970-01-01T00:00:01Z"', 1000),
        ('"1970-01-01t02:00:00.0019+02:00"', 1),
        ('"2023-11-14 22:13:20.5z"', 1_700_000_000_500),
        ("null", NOW),
    ],
)
def test_time_is_milliseconds_or_rfc_3339(time: str, milliseconds: int) -> None:
    assert readings("devices/a/b", f'{{"value":1,"time":{time}}}')[0].time == milliseconds
    assert readings("devices/a", f'{{"b":1,"time":{time}}}')[0].time == milliseconds


@pytest.mark.parametrize(
    "time",
    ["-1", "true", "1.5", "1e300", '"yesterday"', '"2023-11-14T22:13:20"', '"2023-02-30T00:00:00Z"', "253402300800000",
     '"1969-12-31T23:59:59Z"', '"0001-01-01T00:00:00+23:59"', "[]", '"2023-11-14T22:13:20.1234567890Z"'],
)  # fmt: skip
def test_any_other_time_is_refused(time: str) -> None:
    assert reason("devices/a/b", f'{{"value":1,"time":{time}}}') == "BadTime"


def test_a_flat_object_is_one_reading_for_each_metric_that_has_a_value() -> None:
    found = readings("devices/press-1", '{"temperature":21.5,"door":"open","time":5,"missing":null}')
    assert found == [Reading("press-1", "temperature", 5, 21.5), Reading("press-1", "door", 5, "open")]


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("devices", "1", "BadTopic"),
        ("devices/a/", "1", "BadTopic"),
        ("devices/a/b/c", "1", "BadTopic"),
        ("other/a/b", "1", "BadTopic"),
        ("devices/", "1", "BadTopic"),
        ("devices//b", "1", "BadName"),
        ("devices/a b/c", "1", "BadName"),
        ("devices/\ufffd/c", "1", "BadName"),
        (f"devices/{'a' * 129}/c", "1", "BadName"),
        ("devices/a/b", "", "Empty"),
        ("devices/a/b", "on", "BadJson"),
        ("devices/a/b", "NaN", "BadJson"),
        ("devices/a/b", b"\xff", "BadEncoding"),
        ("devices/a/b", "9223372036854775808", "BadNumber"),
        ("devices/a/b", "1e999", "BadNumber"),
        ("devices/a/b", "null", "BadValue"),
        ("devices/a/b", "[1]", "BadValue"),
        ("devices/a/b", '"\\ud800"', "BadEncoding"),
        ("devices/a/b", '"\\u0000"', "BadText"),
        ("devices/a/b", f'"{"x" * (MAX_TEXT + 1)}"', "TooLarge"),
        ("devices/a/b", " " * MAX_PAYLOAD + "1", "TooLarge"),
        ("devices/a/b", "{}", "NoValue"),
        ("devices/a/b", '{"value":{"value":1}}', "BadValue"),
        ("devices/a/b", '{"value":1,"value":2}', "DuplicateKey"),
        ("devices/a/b", '{"value":1,"unit":7}', "BadUnit"),
        ("devices/a/b", '{"value":1,"unit":"\\u0007"}', "BadUnit"),
        ("devices/a/b", '{"value":1,"quality":"splendid"}', "BadQuality"),
        ("devices/a/b", "[" * 33 + "]" * 33, "TooDeep"),
        ("devices/a", "1", "BadValue"),
        ("devices/a", '{"time":1}', "NoValue"),
        ("devices/a", '{"b":null}', "NoValue"),
        ("devices/a", '{"b":1,"c":{}}', "BadValue"),
        ("devices/a", '{"b":1,"":2}', "BadName"),
        ("devices/a", "{" + ",".join(f'"m{n}":1' for n in range(MAX_METRICS + 1)) + "}", "TooMany"),
    ],
)
def test_what_is_no_reading_is_refused_with_its_reason(topic: str, payload: str | bytes, why: str) -> None:
    assert reason(topic, payload) == why


def test_a_topic_belongs_to_the_longest_prefix_that_fits() -> None:
    heads = prefixes(["plant/#", "plant/line-1/#"])
    assert heads == ("plant/line-1/", "plant/")
    assert readings_of("plant/line-1/press", b'{"a":1}', NOW, heads=heads) == [Reading("press", "a", NOW, 1)]
    assert readings_of("plant/oven/a", b"1", NOW, heads=heads) == [Reading("oven", "a", NOW, 1)]


def test_subscriptions_that_do_not_say_where_a_device_stands_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        prefixes(["devices/#", "devices/+", "+/devices/#", "devices#", "a/#/b"])
    assert [problem.message.split("'")[1] for problem in caught.value.problems] == [
        "devices/+",
        "+/devices/#",
        "devices#",
        "a/#/b",
    ]
