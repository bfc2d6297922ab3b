"""Sparkplug from strangers: whatever the bytes and their order, an answer, and nothing made up."""

import hypothesis.strategies as st
from hypothesis import given, settings

from holdfast_edge.core.sparkplug.host import Host, Now, Outcome
from holdfast_edge.core.sparkplug.names import device_id, metric_id
from holdfast_edge.core.sparkplug.sequence import MAX_EARLY, Sequence
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire import readings
from support.sparkplug import DataSet, Metric, Node, Template, properties

KINDS = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
TEXT = st.text(max_size=12)
VALUES = st.one_of(
    st.fixed_dictionaries({"int_value": st.integers(0, 2**32 - 1)}),
    st.fixed_dictionaries({"long_value": st.integers(0, 2**64 - 1)}),
    st.fixed_dictionaries({"float_value": st.floats(width=32)}),
    st.fixed_dictionaries({"double_value": st.floats()}),
    st.fixed_dictionaries({"boolean_value": st.booleans()}),
    st.fixed_dictionaries({"string_value": TEXT}),
    st.fixed_dictionaries({"bytes_value": st.binary(max_size=40)}),
    st.just({"dataset_value": DataSet(num_of_columns=1, columns=["a"], types=[3])}),
    st.just({"template_value": Template(metrics=[Metric(name="in", datatype=3, int_value=1)])}),
    st.just({}),
)
METRICS = st.builds(
    lambda value, more, unit: Metric(**value, **more, properties=properties(unit=unit, Quality=0)),
    VALUES,
    st.fixed_dictionaries(
        {"datatype": st.integers(0, 36)},
        optional={
            "name": st.sampled_from(["a", "b/c", "", "Node Control/Rebirth"]),
            "alias": st.integers(0, 3),
            "timestamp": st.sampled_from([0, 5, 2**63, 2**64 - 1]),
            "is_null": st.booleans(),
            "is_historical": st.booleans(),
            "is_transient": st.booleans(),
        },
    ),
    TEXT,
)
MESSAGES = st.tuples(st.sampled_from(KINDS), st.integers(0, 4), st.lists(METRICS, max_size=4), st.floats(0, 5))


def offered(host: Host, topic: str, payload: bytes, now: float) -> Outcome:
    outcome = Outcome()
    at = Now(1_000_000 + int(now * 1000), now)
    host.take(topic, payload, at, outcome)
    host.pass_time(at, outcome)
    host.commands(at)
    return outcome


@given(st.lists(MESSAGES, max_size=25))
@settings(max_examples=150, deadline=None)
def test_any_messages_in_any_order_become_readings_the_wire_can_carry(
    messages: list[tuple[str, int, list[object], float]],
) -> None:
    host, now, node = Host(), 0.0, Node()
    for kind, sequence, metrics, pause in messages:
        now += pause
        node.seq = sequence
        topic, payload = node.say(kind, "d" if kind[0] == "D" else "", *metrics, at=int(now * 1000))
        if found := offered(host, topic, payload, now).readings:
            readings.encode(found)
            assert all(each.device.startswith("Plant@201:Line-A") for each in found)


@given(st.binary(max_size=300), st.sampled_from(KINDS), st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_of_any_kind_and_bent_messages_never_raise(noise: bytes, kind: str, data: st.DataObject) -> None:
    host, node = Host(), Node()
    offered(host, *node.birth(Metric(name="a", alias=1, datatype=10, double_value=1.5)), 1.0)
    _, good = node.data(Metric(alias=1, double_value=2.5, properties=properties(unit="C")))
    place = data.draw(st.integers(0, len(good)))
    for payload in (noise, good[:place] + noise[:3] + good[place:], good[:place]):
        topic = f"spBv1.0/Plant 1/{kind}/Line-A" + ("/d" if kind[0] == "D" else "")
        if found := offered(host, topic, payload, 2.0).readings:
            readings.encode(found)


@given(st.permutations(range(1, MAX_EARLY)), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_messages_in_any_order_come_out_in_order_wherever_the_numbers_wrap(order: list[int], first: int) -> None:
    sequence: Sequence[int] = Sequence(first)
    found: list[int] = []
    for place in order:
        found += sequence.take((first + place) % 256, place, 0.0) or []
    assert found == sorted(order)
    assert (sequence.due, sequence.missing, sequence.broken) == (None, 0, False)


@given(st.sets(st.integers(1, 100), min_size=1), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_what_arrived_and_what_is_said_to_be_missing_are_all_there_is(lost: set[int], first: int) -> None:
    sequence: Sequence[int] = Sequence(first)
    sent = list(range(1, max(lost) + 2))
    found: list[int] = []
    for place in sent:
        if place not in lost:
            found += sequence.take((first + place) % 256, place, 0.0) or []
    found += sequence.give_up()
    assert found == [place for place in sent if place not in lost]
    assert sequence.missing == len(lost)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), unique=True, max_size=8), st.lists(TEXT, unique=True, max_size=8))
def test_two_names_never_become_one(devices: list[tuple[str, str, str]], metrics: list[str]) -> None:
    def escaped(function: object, *names: str) -> object:
        try:
            return function(*names)  # type: ignore[operator]
        except Unfit:
            return names

    wanted = {names for names in devices if all(names)}
    assert len({escaped(device_id, *names) for names in wanted}) == len(wanted)
    assert len({escaped(metric_id, name) for name in metrics}) == len(metrics)
