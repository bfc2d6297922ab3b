"""The host application as a pure machine: births, data, deaths, sequence numbers, and whom it asks for a birth."""

from itertools import pairwise
from typing import Any

import pytest

from holdfast_edge.core.sparkplug import host as host_
from holdfast_edge.core.sparkplug import rebirths, sequence, tables
from holdfast_edge.core.sparkplug.host import Host, Now, Outcome
from holdfast_edge.core.sparkplug.rebirths import Node as Key
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.readings import Reading
from support.sparkplug import Metric, Node, Parameter, Payload, Template, is_rebirth_request, properties

NODE = "Plant@201:Line-A"
PRESS = "Plant@201:Line-A:press"


class Plant:
    """A host, the time, and what the host has said."""

    def __init__(self, *members: Key) -> None:
        self.host = Host(members)
        self.wall, self.boottime = 10_000, 100.0
        self.outcome = Outcome()

    @property
    def now(self) -> Now:
        return Now(self.wall, self.boottime)

    def hear(self, *messages: tuple[str, bytes]) -> "Plant":
        for topic, payload in messages:
            self.host.take(topic, payload, self.now, self.outcome)
        return self

    def wait(self, seconds: float) -> "Plant":
        self.wall += int(seconds * 1000)
        self.boottime += seconds
        self.host.pass_time(self.now, self.outcome)
        return self

    def readings(self) -> list[Reading]:
        found, self.outcome.readings = self.outcome.readings, []
        return found

    def values(self) -> list[tuple[str, object, str]]:
        return [(each.metric, each.value, each.quality) for each in self.readings()]

    def reasons(self) -> list[str]:
        found, self.outcome.rejected = self.outcome.rejected, []
        return [rejection.reason for _, rejection in found]

    def events(self) -> list[tuple[str, str]]:
        found, self.outcome.events = self.outcome.events, []
        return [(each.kind, each.body["device"]) for each in found]

    def asked(self) -> list[str]:
        found = self.host.commands(self.now)
        assert all(is_rebirth_request(each.payload) for each in found)
        return [each.topic for each in found]


def temperature(value: float, **more: Any) -> Any:
    return Metric(**{"name": "Temp/Inlet", "alias": 1, "datatype": 9, "float_value": value} | more)


def by_alias(value: float, **more: Any) -> Any:
    return Metric(**{"alias": 1, "float_value": value} | more)


def test_a_birth_gives_values_names_units_and_times_and_data_comes_by_alias() -> None:
    node, plant = Node(), Plant()
    birth = node.birth(Metric(name="Uptime", alias=9, datatype=8, long_value=5, timestamp=900))
    device = node.device_birth("press", temperature(21.5, properties=properties(engUnit="C")))
    plant.hear(birth, device, node.data(by_alias(22.5, timestamp=1990), device="press"))
    assert plant.readings() == [
        Reading(NODE, "Uptime", 900, 5),
        Reading(PRESS, "Temp/Inlet", 1000, 21.5, "C"),
        Reading(PRESS, "Temp/Inlet", 1990, 22.5, "C"),
    ]
    assert plant.events() == [("DeviceOnline", NODE), ("DeviceOnline", PRESS)]
    assert (plant.reasons(), plant.asked()) == ([], [])


def test_the_sequence_goes_on_over_its_wrap() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)))
    plant.hear(*(node.data(by_alias(number), at=2000 + number) for number in range(1, 700)))
    assert [value for _, value, _ in plant.values()] == list(range(700))
    assert (plant.reasons(), plant.asked()) == ([], [])


def test_early_messages_wait_for_the_missing_one_also_over_the_wrap() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)))
    plant.hear(*(node.data(by_alias(number), at=2000 + number) for number in range(1, 255)))
    plant.readings()
    late, *early = [node.data(by_alias(number), at=3000 + number) for number in range(5)]
    plant.hear(*reversed(early))
    assert plant.readings() == []
    plant.hear(late)
    assert [value for _, value, _ in plant.values()] == list(range(5))
    plant.wait(sequence.REORDER)
    assert (plant.reasons(), plant.asked(), plant.readings()) == ([], [], [])


@pytest.mark.invariant("every-loss-is-counted")
def test_a_gap_is_said_after_the_reorder_time_and_aliases_are_not_believed_until_the_next_birth() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)))
    plant.readings(), plant.events()
    node.data(by_alias(1)), node.data(by_alias(2))  # lost
    plant.hear(node.data(by_alias(3)), node.data(Metric(name="Temp/Inlet", float_value=4)))
    assert (plant.readings(), plant.asked()) == ([], [])
    plant.wait(sequence.REORDER)
    assert plant.outcome.events[0].body == {"device": NODE, "missing": 2}
    assert plant.values() == [("Temp/Inlet", 4.0, "good")]  # by name: whatever was missed, this is what it says
    assert plant.reasons() == ["OutOfSequence"]
    assert plant.asked() == [node.command_topic]
    plant.hear(node.birth(temperature(5), at=4000), node.data(by_alias(6)))
    assert [value for _, value, _ in plant.values()] == [5.0, 6.0]
    assert (plant.wait(1000).asked(), plant.reasons()) == ([], [])


def test_a_message_that_came_before_is_not_taken_again() -> None:
    node, plant = Node(), Plant()
    first = node.data  # births begin at 0
    plant.hear(node.birth(temperature(0)), one := first(by_alias(1)), first(by_alias(2)))
    plant.readings()
    plant.hear(one)
    assert (plant.readings(), plant.reasons()) == ([], ["OutOfSequence"])


def test_more_early_messages_than_fit_end_the_waiting_at_once() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)))
    node.data(by_alias(1))  # lost
    plant.hear(*(node.data(temperature(number)) for number in range(sequence.MAX_EARLY + 1)))
    assert len(plant.readings()) == sequence.MAX_EARLY + 2
    assert plant.asked() == [node.command_topic]


def test_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_, "MAX_HELD", 60)
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)))
    node.data()
    plant.hear(node.data(temperature(1)), node.data(temperature(2)), node.data(temperature(3)))
    assert [value for _, value, _ in plant.values()] == [0.0, 1.0, 2.0, 3.0]


def test_a_death_makes_every_last_value_uncertain_once_and_a_birth_makes_it_good_again() -> None:
    node, plant = Node(), Plant()
    birth = node.birth(Metric(name="State", datatype=12, string_value="run", timestamp=900))
    plant.hear(birth, node.device_birth("press", temperature(21.5)))
    plant.readings(), plant.events()
    plant.hear(node.death(), node.death())
    assert plant.readings() == [
        Reading(NODE, "State", 10_000, "run", "", "uncertain"),
        Reading(PRESS, "Temp/Inlet", 10_000, 21.5, "", "uncertain"),
    ]
    assert plant.events() == [("DeviceOffline", NODE), ("DeviceOffline", PRESS)]
    node.bd_seq += 1
    plant.wait(5).hear(node.birth(Metric(name="State", datatype=12, string_value="run", timestamp=900)))
    assert plant.readings() == [Reading(NODE, "State", 10_000, "run")]  # not before it was said to be uncertain
    assert plant.events() == [("DeviceOnline", NODE)]


def test_the_death_of_an_earlier_connection_changes_nothing() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(1)))
    node.bd_seq += 1
    plant.hear(node.birth(temperature(2), at=1500))
    node.bd_seq -= 1
    plant.readings(), plant.events()
    plant.hear(node.death())
    assert (plant.readings(), plant.events(), plant.reasons()) == ([], [], ["OldDeath"])
    assert plant.host.online == 1


def test_a_device_s_death_is_its_own_and_its_data_then_need_a_birth() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(0)), node.device_birth("press", temperature(1)))
    plant.readings(), plant.events()
    plant.hear(node.device_death("press"), node.data(by_alias(2), device="press"))
    assert plant.values() == [("Temp/Inlet", 1.0, "uncertain")]
    assert (plant.events(), plant.reasons()) == ([("DeviceOffline", PRESS)], ["NoBirth"])
    assert plant.asked() == [node.command_topic]
    assert plant.host.online == 1


def test_a_birth_said_again_is_no_new_reading_and_no_event() -> None:
    node, plant = Node(), Plant()
    for _ in range(2):
        plant.hear(node.birth(temperature(1, timestamp=900)), node.device_birth("press", temperature(2, timestamp=950)))
    assert [value for _, value, _ in plant.values()] == [1.0, 2.0]
    assert len(plant.events()) == 2


def test_a_device_that_is_not_born_again_with_its_node_is_lost_after_a_while() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(), node.device_birth("press", temperature(2)), node.birth())
    plant.readings(), plant.events()
    plant.wait(host_.REBORN_WITHIN - 1)
    assert plant.events() == []
    plant.wait(1)
    assert plant.values() == [("Temp/Inlet", 2.0, "uncertain")]
    assert plant.events() == [("DeviceOffline", PRESS)]


def test_data_of_a_node_never_heard_of_ask_for_its_birth_ever_more_rarely() -> None:
    node, plant, asked = Node(), Plant(), []
    for second in range(3600):
        plant.hear(node.data(by_alias(1)))
        if plant.asked():
            asked.append(second)
        plant.wait(1)
    assert asked[:6] == [0, 5, 15, 35, 75, 155]
    assert max(later - earlier for earlier, later in pairwise(asked)) <= rebirths.LONGEST + 1
    assert set(plant.reasons()) == {"NoBirth"}


def test_a_node_that_stays_silent_is_not_asked_for_ever() -> None:
    plant = Plant(Key("g", "gone"))
    assert sum(bool(plant.wait(1).asked()) for _ in range(20_000)) == rebirths.PATIENCE


def test_all_nodes_together_are_asked_at_a_bounded_rate_and_each_in_its_turn() -> None:
    plant = Plant(*(Key("g", f"n{number}") for number in range(500)))
    plant.boottime = 0.0
    asked = plant.asked()
    assert len(asked) <= rebirths.BURST
    for _ in range(4):
        plant.wait(1)
        asked += plant.asked()
    assert len(asked) == len(set(asked)) <= rebirths.BURST + 4 * rebirths.RATE


def test_the_members_are_those_that_had_a_birth() -> None:
    node, plant = Node(), Plant()
    plant.hear(Node(name="other").data(by_alias(1)))
    assert (plant.host.members, plant.host.revision) == ((), 0)
    plant.hear(node.birth(), node.birth())
    assert (plant.host.members, plant.host.revision) == ((Key("Plant 1", "Line-A"),), 1)


def test_a_connection_without_its_session_asks_everybody() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(1)))
    plant.host.resume(True, plant.boottime)
    assert plant.asked() == []
    plant.host.resume(False, plant.boottime)
    assert plant.asked() == [node.command_topic]
    plant.hear(node.data(by_alias(2)))
    assert plant.reasons() == ["OutOfSequence"]


def test_null_transient_and_historical_metrics() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(temperature(1)))
    plant.hear(
        node.data(
            by_alias(7, is_historical=True, timestamp=500),
            by_alias(8, is_transient=True),
            Metric(alias=1, is_null=True, timestamp=2100),
        )
    )
    assert plant.readings()[1:] == [
        Reading(NODE, "Temp/Inlet", 500, 7.0),
        Reading(NODE, "Temp/Inlet", 2100, 1.0, "", "bad"),  # what it was, and that it is no longer so
    ]


def test_members_of_a_template_are_metrics_below_its_name() -> None:
    node, plant = Node(), Plant()
    inner = Metric(
        name="Motor", datatype=19, template_value=Template(metrics=[Metric(name="RPM", datatype=3, int_value=900)])
    )
    definition = Metric(
        name="_types_/Pump",
        datatype=19,
        template_value=Template(is_definition=True, metrics=[Metric(name="x", datatype=3)]),
    )
    pump = Template(template_ref="Pump", metrics=[Metric(name="Flow", datatype=9, float_value=1.5), inner])
    plant.hear(node.birth(definition, Metric(name="Pump 1", alias=4, datatype=19, template_value=pump)))
    assert [(each.metric, each.value) for each in plant.readings()] == [
        ("Pump@201/Flow", 1.5),
        ("Pump@201/Motor/RPM", 900),
    ]
    part = Template(metrics=[Metric(name="Flow", float_value=2.5)])
    plant.hear(node.data(Metric(alias=4, template_value=part)), node.data(Metric(name="Pump 1", template_value=part)))
    assert [each.value for each in plant.readings()] == [2.5, 2.5]
    assert plant.reasons() == []


def test_parameters_of_a_template_are_metrics_below_its_name_and_a_bad_one_costs_itself() -> None:
    plant, node = Plant(), Node()
    size = Parameter(name="Size", type=3, int_value=7)
    maker = Parameter(name="Maker", type=12, string_value="Ours")
    pump = Template(
        metrics=[Metric(name="RPM", datatype=3, int_value=900)], parameters=[size, maker, Parameter(type=3)]
    )
    plant.hear(node.birth(Metric(name="Pump", datatype=19, template_value=pump)))
    found = {reading.metric: reading.value for reading in plant.readings()}
    assert found == {"Pump/RPM": 900, "Pump/parameters/Size": 7, "Pump/parameters/Maker": "Ours"}
    assert plant.reasons() == ["BadName"]
    for part in ("Pump/RPM", "Pump/parameters/Size"):
        with pytest.raises(Unfit, match="part of a template"):
            plant.host.command(NODE, part, 1, plant.now)


def test_templates_nested_too_deep_cost_themselves_only() -> None:
    node, plant, metric = Node(), Plant(), Metric(name="x", datatype=3, int_value=1)
    for _ in range(10):
        metric = Metric(name="t", datatype=19, template_value=Template(metrics=[metric]))
    plant.hear(node.birth(metric, temperature(1)))
    assert plant.values() == [("Temp/Inlet", 1.0, "good")]
    assert plant.reasons() == ["TooDeep"]


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
def test_one_metric_that_cannot_be_read_costs_itself_only() -> None:
    node, plant = Node(), Plant()
    plant.hear(
        node.birth(temperature(1), Metric(name="bad", alias=1, datatype=3, int_value=1), Metric(name="", datatype=3))
    )
    assert plant.reasons() == ["BadName", "BadAlias"]
    plant.hear(
        node.data(
            Metric(alias=77, int_value=1),
            Metric(alias=1, string_value="x"),
            Metric(alias=1, datatype=3, int_value=1),
            by_alias(3, timestamp=2**63),
            by_alias(4),
        )
    )
    assert plant.reasons() == ["UnknownMetric", "BadValue", "BadValue", "BadTime"]
    assert [value for _, value, _ in plant.values()] == [1.0, 4.0]
    assert plant.asked() == [node.command_topic]  # an alias in no birth: one was missed


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("spBv1.0/g/NDATA/n", b"\xff\xff", "BadPayload"),
        ("spBv1.0/g/NDATA/n", b"", "BadSequence"),
        ("spBv1.0/g/NDATA/n", Payload(seq=256).SerializeToString(), "BadSequence"),
        ("spBv1.0/g/NBIRTH/n", bytes(2**20 + 1), "TooLarge"),
        ("spBv1.0/g/NBIRTH/n", b"\x12\x00" * 5001 + b"\x18\x00", "TooMany"),
        ("spBv1.0/g/NCMD/n", b"", "BadTopic"),
        ("spBv1.0/g/NDATA/n/d", b"", "BadTopic"),
        ("spBv1.0/g/DDATA/n", b"", "BadTopic"),
        ("spAv1.0/g/NDATA/n", b"", "BadTopic"),
        ("spBv1.0", b"", "BadTopic"),
        ("spBv1.0//NDATA/n", b"", "BadName"),
        ("spBv1.0/g/NDATA/" + "n" * 257, b"", "BadName"),
        ("spBv1.0/g/NDATA/" + "ä" * 100, Payload(seq=1).SerializeToString(), "BadName"),
        ("spBv1.0/g/NDATA/a\x1bb", b"", "BadName"),
        ("spBv1.0/g/NDATA/a\ud800", Payload(seq=1).SerializeToString(), "BadName"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_is_no_sparkplug_message_is_turned_away_with_the_reason(topic: str, payload: bytes, reason: str) -> None:
    assert Plant().hear((topic, payload)).reasons() == [reason]


def test_edge_nodes_devices_and_metrics_are_bounded_and_those_gone_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_, "MAX_NODES", 3)
    monkeypatch.setattr(host_, "MAX_DEVICES", 2)
    monkeypatch.setattr(host_, "MAX_KNOWN", 6)
    plant, nodes = Plant(), [Node(name=f"n{number}") for number in range(5)]
    for node in nodes[:3]:
        plant.hear(node.birth())  # bdSeq is a metric of it
    assert plant.hear(nodes[3].birth()).reasons() == ["TooMany"]
    plant.wait(1).hear(nodes[1].death(), nodes[3].birth())
    assert plant.reasons() == []
    plant.hear(*(nodes[0].device_birth(f"d{number}", temperature(1)) for number in range(3)))
    assert plant.reasons() == ["TooMany"]
    assert plant.hear(nodes[0].data(by_alias(5), device="d0")).reasons() == []
    plant.hear(nodes[2].birth(temperature(1), temperature(2, name="b", alias=2), temperature(3, name="c", alias=3)))
    assert plant.reasons() == ["TooMany"]
    plant.hear(nodes[2].birth(temperature(1)))
    assert plant.reasons() == []


def test_controls_and_birth_numbers_are_no_readings() -> None:
    node, plant = Node(), Plant()
    plant.hear(node.birth(Metric(name="Node Control/Rebirth", datatype=11, boolean_value=False)))
    assert (plant.readings(), plant.reasons()) == ([], [])


def test_what_is_read_item_by_item_is_bounded_in_one_message() -> None:
    node, plant = Node(), Plant()
    arrays = [Metric(name=f"a{number}", datatype=26, bytes_value=bytes(1000)) for number in range(200)]
    plant.hear(node.birth(*arrays))
    assert len(plant.readings()) == tables.MAX_HEAVY // 1000
    assert set(plant.reasons()) == {"TooLarge"}
