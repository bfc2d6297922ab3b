"""Names as levels of topics, and the templates by which a DeviceSource says what is where."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.carriers import filled, filter_of, read_topic
from holdfast_protocol.kinds.device_source import wanted
from holdfast_protocol.wire.levels import is_sayable, level_of, name_of

MQTT = {"host": "10.0.0.5"}
AMQP10 = {"host": "broker.lan", "version": "1.0", "address": "/amq/queue/readings"}


@given(st.text(min_size=1, max_size=40))
def test_every_name_has_a_level_of_its_own_that_leads_back(name: str) -> None:
    if is_sayable(name):
        level = level_of(name)
        assert name_of(level) == name
        assert not set(level) & set("/+#\0 ")
        assert not level.startswith("$")


@given(st.text(max_size=40))
def test_a_level_stands_for_one_name_only(level: str) -> None:
    name = name_of(level)
    assert name is None or level_of(name) == level


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("press-1", "press-1"),
        ("hall/press 1", "hall%2Fpress%201"),
        ("+", "%2B"),
        ("50%", "50%25"),
        ("ä", "%C3%A4"),
        (".x.y", "%2Ex.y"),
        ("$SYS", "%24SYS"),
        ("plant:line-1:Press@201", "plant:line-1:Press@201"),
    ],
)
def test_what_fits_no_level_stands_as_its_bytes(name: str, level: str) -> None:
    assert (level_of(name), name_of(level)) == (level, name)


@pytest.mark.parametrize("level", ["", "a b", "%2f", "%61", "%", "%FF", "a%00", "x" * 4000, "ä"])
def test_a_level_written_otherwise_is_nobody(level: str) -> None:
    assert name_of(level) is None


def test_a_template_is_filled_subscribed_to_and_read() -> None:
    assert filled("line/{device}/do/{name}/{id}", "a/b", "go on", "5") == "line/a%2Fb/do/go%20on/5"
    assert filter_of("line/{device}/done/{id}") == "line/+/done/+"
    assert read_topic("line/{device}/done/{id}", "line/a%2Fb/done/5") == ("a/b", "5")
    assert read_topic("line/{device}/done", "line/press/done") == ("press", "")
    for other in ("line/press/done/5/6", "line/press/do/5", "line//done/5", "line/a b/done/5"):
        assert read_topic("line/{device}/done/{id}", other) is None


@pytest.mark.parametrize(
    "spec",
    [
        {"mqtt": MQTT | {"commands": {}, "desired": {}}},
        {"mqtt": MQTT | {"commands": {"topic": "a/{device}", "answer": "b/{device}", "qos": 0}}},
        {"mqtt": MQTT | {"desired": {"topic": "{device}/shall"}}},
        {"sparkplug": MQTT | {"commands": True}},
        {"amqp": MQTT | {"queue": "q", "commands": {"queue": "answers"}}},
        {"amqp": AMQP10},
        {"amqp": AMQP10 | {"tls": {"serverName": "other"}, "virtualHost": "/plant", "prefetch": 1}},
    ],
)
def test_these_are_accepted(spec: dict[str, Any]) -> None:
    assert wanted(spec, "line").type in spec


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"mqtt": MQTT | {"commands": {"topic": "a/b"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "a/{device}/x{name}"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "a/{device}/+"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "/{device}"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "$SYS/{device}"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "{device}/{device}"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"topic": "a/" * 40 + "{device}"}}}, "spec.mqtt.commands.topic"),
        ({"mqtt": MQTT | {"commands": {"answer": "answers/{id}"}}}, "spec.mqtt.commands.answer"),
        ({"mqtt": MQTT | {"commands": {"answer": "answers/{device}/{name}"}}}, "spec.mqtt.commands.answer"),
        ({"mqtt": MQTT | {"commands": {"answer": "commands/{device}/{id}"}}}, "spec.mqtt.commands.answer"),
        ({"mqtt": MQTT | {"commands": {"topic": "{device}/a", "answer": "b/{device}"}}}, "spec.mqtt.commands.answer"),
        ({"mqtt": MQTT | {"desired": {"topic": "a/{device}/{id}"}}}, "spec.mqtt.desired.topic"),
        ({"amqp": MQTT | {"queue": "q", "commands": {"queue": ""}}}, "spec.amqp.commands.queue"),
        ({"amqp": MQTT | {"queue": "q", "commands": {"queue": "a", "topic": "x"}}}, "spec.amqp.commands.topic"),
        ({"amqp": MQTT | {"queue": "q", "address": "x"}}, "spec.amqp.address"),
        ({"amqp": AMQP10 | {"address": ""}}, "spec.amqp.address"),
        ({"amqp": AMQP10 | {"queue": "q"}}, "spec.amqp.queue"),
        ({"amqp": AMQP10 | {"commands": {"queue": "q"}}}, "spec.amqp.commands"),
        ({"amqp": AMQP10 | {"exchange": "x", "keys": ["#"]}}, "spec.amqp.exchange"),
    ],
    ids=str,
)
def test_these_are_refused_with_their_place(spec: dict[str, Any], place: str) -> None:
    with pytest.raises(WireError) as caught:
        wanted(spec, "line")
    assert caught.value.message.startswith(f"{place}:")
