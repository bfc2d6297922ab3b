"""What a Sparkplug device is told: the metric of its birth, of the birth's type, and when its word answers."""

from typing import Any

import pytest

from holdfast_edge.core.sparkplug.commands import is_so
from holdfast_edge.core.sparkplug.host import Host, Now, Outcome
from holdfast_protocol.mapping.values import Unfit
from support.sparkplug import Metric, Node, Payload

NOW = Now(5_000, 1.0)


def born(*metrics: Any, device: str = "press") -> tuple[Host, Node]:
    host, node = Host(), Node("Plant 1", "line-1")
    host.take(*node.birth(*(metrics if not device else ())), NOW, Outcome())
    if device:
        host.take(*node.device_birth(device, *metrics), NOW, Outcome())
    return host, node


def told(host: Host, metric: str, data: Any, device: str = "Plant@201:line-1:press") -> tuple[str, Any]:
    command = host.command(device, metric, data, NOW)
    assert command is not None
    [found] = Payload.FromString(command.payload).metrics
    return command.topic, found


@pytest.mark.parametrize(
    ("datatype", "data", "field", "raw"),
    [
        (1, -128, "int_value", 2**32 - 128),
        (3, 2**31 - 1, "int_value", 2**31 - 1),
        (4, -1, "long_value", 2**64 - 1),
        (5, 255, "int_value", 255),
        (7, 2**32 - 1, "int_value", 2**32 - 1),
        (8, 2**64 - 1, "long_value", 2**64 - 1),
        (9, 3, "float_value", 3.0),
        (10, 2.5, "double_value", 2.5),
        (11, False, "boolean_value", False),
        (12, "ä", "string_value", "ä"),
        (13, 1_700_000_000_000, "long_value", 1_700_000_000_000),
    ],
)
def test_a_command_carries_the_type_of_the_birth(datatype: int, data: Any, field: str, raw: Any) -> None:
    host, _ = born(Metric(name="a/b", datatype=datatype, is_null=True))
    topic, metric = told(host, "a/b", data)
    assert topic == "spBv1.0/Plant 1/DCMD/line-1/press"
    assert (metric.name, metric.datatype, metric.timestamp) == ("a/b", datatype, 5_000)
    assert (metric.WhichOneof("value"), getattr(metric, field)) == (field, raw)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        *((1, each) for each in (128, True, 1.0)),
        *((5, -1), (8, 2**64), (9, 1e39), (9, True), (10, 10**400), (11, 1)),
        *((12, 5), (12, "x" * 5000), (16, [1])),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(datatype: int, data: Any) -> None:
    host, _ = born(Metric(name="a", datatype=datatype, is_null=True))
    with pytest.raises(Unfit) as caught:
        told(host, "a", data)
    assert caught.value.reason == "BadValue"


def test_an_edge_node_itself_is_told_by_ncmd_and_an_alias_stands_instead_of_the_name() -> None:
    host, _ = born(Metric(name="rate of it", alias=9, datatype=3, int_value=1), device="")
    topic, metric = told(host, "rate@20of@20it", 4, "Plant@201:line-1")
    assert topic == "spBv1.0/Plant 1/NCMD/line-1"
    assert (metric.name, metric.alias, metric.int_value) == ("", 9, 4)


def test_controls_and_strangers_are_not_told_anything_and_who_is_away_is_waited_for() -> None:
    host, node = born(Metric(name="a", datatype=3, int_value=1))
    for metric in ("b", "bdSeq", "Node Control/Reboot", ""):
        with pytest.raises(Unfit, match="in no birth"):
            host.command("Plant@201:line-1:press", metric, 1, NOW)
    assert host.command("Plant@201:line-1:other", "a", 1, NOW) is None
    host.take(*node.device_death("press"), NOW, Outcome())
    assert host.command("Plant@201:line-1:press", "a", 1, NOW) is None


@pytest.mark.parametrize(
    ("said", "wanted", "so"),
    [
        (1, 1, True),
        (1.0, 1, True),
        (0.1, 0.1, True),
        (0.3333333, 1 / 3, False),
        (0.33333334, 1 / 3, True),
        (True, True, True),
        (1, True, False),
        (True, 1, False),
        ("a", "a", True),
        ("1", 1, False),
        (1, None, False),
        (float(2**63), 10**30, False),
    ],
)
def test_a_word_answers_when_it_is_what_was_told(said: Any, wanted: Any, so: bool) -> None:
    assert is_so(said, wanted) is so
