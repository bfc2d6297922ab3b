"""An edge node of ours: heard by a host of another make, and by our own."""

import pytest

from holdfast_edge.core.sparkplug import edge_node
from holdfast_edge.core.sparkplug.edge_node import EdgeNode, Message
from holdfast_edge.core.sparkplug.encoding import rebirth_command
from holdfast_edge.core.sparkplug.host import Host, Now, Outcome
from holdfast_protocol.wire.readings import Reading, Value
from support.sparkplug import Payload


def heard(host: Host, messages: list[Message], wall: int = 10_000) -> list[Reading]:
    outcome = Outcome()
    for message in messages:
        host.take(message.topic, message.payload, Now(wall, 0.0), outcome)
    assert outcome.rejected == []
    return outcome.readings


def test_a_birth_names_and_types_every_metric_and_data_only_count_by_alias() -> None:
    node = EdgeNode("plant", "site-1", bd_seq=3)
    [birth] = node.birth(100)
    [device, data] = node.data([Reading("press", "t", 90, 21.5, "C"), Reading("press", "t", 95, 22.5, "C")], 100)
    assert [m.topic for m in (birth, device, data)] == [
        "spBv1.0/plant/NBIRTH/site-1",
        "spBv1.0/plant/DBIRTH/site-1/press",
        "spBv1.0/plant/DDATA/site-1/press",
    ]
    first, second, third = (Payload.FromString(message.payload) for message in (birth, device, data))
    assert [(m.name, m.long_value) for m in first.metrics][:1] == [("bdSeq", 3)]
    assert "Node Control/Rebirth" in {m.name for m in first.metrics}
    assert [(m.name, m.alias, m.datatype, m.double_value, m.timestamp) for m in second.metrics] == [
        ("t", 1, 10, 22.5, 95)
    ]
    assert [(m.name, m.alias, m.double_value, m.is_historical) for m in third.metrics] == [("", 1, 21.5, True)]
    assert [first.seq, second.seq, third.seq] == [0, 1, 2]
    death = node.death(100)
    assert (death.topic, death.qos) == ("spBv1.0/plant/NDEATH/site-1", 1)
    assert [m.long_value for m in Payload.FromString(death.payload).metrics] == [3]
    assert not Payload.FromString(death.payload).HasField("seq")


def test_what_it_says_our_own_host_hears_every_reading_once_over_wraps_and_rebirths() -> None:
    node, host = EdgeNode("plant", "site-1"), Host()
    values: list[Value] = [True, 5, -(2**62), 0.1, "läuft"]
    sent = [
        Reading(
            f"d{number % 3}",
            f"m/{number % 5}",
            1000 + number,
            values[number % 5],
            "C",
            ("good", "uncertain", "bad")[number % 7 % 3],
        )
        for number in range(900)
    ]
    found = heard(host, node.birth(1))
    for start in range(0, len(sent), 3):
        found += heard(host, node.data(sent[start : start + 3], 2000))
        if start % 300 == 0:
            found += heard(host, node.birth(3000))
    key = lambda each: (each.time, each.device)  # noqa: E731
    assert sorted(found, key=key) == [
        Reading(f"plant:site-1:{each.device}", each.metric, each.time, each.value, each.unit, each.quality)
        for each in sorted(sent, key=key)
    ]


def test_a_metric_that_changes_its_type_or_unit_has_its_device_born_again() -> None:
    node = EdgeNode("g", "n")
    node.birth(1)
    readings = [
        Reading("d", "m", 1, 1),
        Reading("d", "m", 2, 2),
        Reading("d", "m", 3, 3.5),
        Reading("d", "m", 4, 4.5, "C"),
    ]
    kinds = [[message.topic.split("/")[2] for message in node.data([reading], 5)] for reading in readings]
    assert kinds == [["DBIRTH"], ["DDATA"], ["DBIRTH"], ["DBIRTH"]]


def test_a_lost_device_is_born_again_with_its_next_reading_and_all_after_a_new_connection() -> None:
    node = EdgeNode("g", "n", bd_seq=255)
    node.birth(1)
    node.data([Reading("d", "m", 1, 1)], 1)
    assert [message.topic for message in node.lose("d", 2)] == ["spBv1.0/g/DDEATH/n/d"]
    assert node.lose("d", 2) == []
    assert [message.topic.split("/")[2] for message in node.data([Reading("d", "m", 3, 1)], 3)] == ["DBIRTH"]
    node.connect()
    assert node.bd_seq == 0
    assert [message.topic.split("/")[2] for message in node.birth(4)] == ["NBIRTH", "DBIRTH"]


def test_a_host_s_request_is_understood_and_nothing_else_is() -> None:
    node = EdgeNode("g", "n")
    topic, payload = rebirth_command("g", "n", 5)
    assert topic == node.commands
    assert node.asks_for_birth(topic, payload)
    for other in (("spBv1.0/g/NCMD/other", payload), (topic, b"\xff"), (topic, b""), ("x", payload)):
        assert not node.asks_for_birth(*other)


def test_history_is_marked_and_is_no_last_value() -> None:
    node = EdgeNode("g", "n")
    node.birth(1)
    node.data([Reading("d", "m", 10, 1)], 10)
    [message] = node.data([Reading("d", "m", 5, 9)], 11, historical=True)
    assert [m.is_historical for m in Payload.FromString(message.payload).metrics] == [True]
    assert [m.long_value for m in Payload.FromString(node.birth(12)[1].payload).metrics] == [1]


def test_series_beyond_the_bound_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_node, "MAX_POINTS", 3)
    monkeypatch.setattr(edge_node, "MAX_METRICS", 2)
    node = EdgeNode("g", "n")
    node.birth(1)
    said = [Reading(device, metric, 1, 1) for device, metric in ("da", "db", "dc", "da", "ea", "fa")]
    beyond = [False, False, True, False, False, True]
    assert node.beyond(said) == beyond
    node.data([reading for reading, left in zip(said, beyond, strict=True) if not left], 1)
    assert node.beyond(said) == beyond


def test_names_that_would_be_wildcards_are_escaped() -> None:
    node = EdgeNode("a/b", "n+#")
    node.birth(1)
    [birth] = node.data([Reading("x/y", "m/z", 1, 1)], 1)
    assert birth.topic == "spBv1.0/a@2Fb/DBIRTH/n@2B@23/x@2Fy"


def test_data_is_said_in_messages_that_brokers_take() -> None:
    node = EdgeNode("g", "n")
    node.birth(1)
    node.data([Reading("d", "m", 1, "x")], 1)
    found = node.data([Reading("d", "m", 2 + number, "x" * 4000) for number in range(100)], 2, historical=True)
    assert max(len(each.payload) for each in found) <= edge_node.MOST + 5000
    assert sum(len(Payload.FromString(each.payload).metrics) for each in found) == 100
