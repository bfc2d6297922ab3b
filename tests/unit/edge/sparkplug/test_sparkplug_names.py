"""Names of groups, edge nodes, devices and metrics, as they stand here."""

import pytest

from holdfast_edge.core.sparkplug.names import Topic, device_id, filters, level_of, metric_id, topic_of
from holdfast_protocol.mapping.values import Unfit


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("plant", "line-1"), "plant:line-1"),
        (("plant", "line-1", "press.2"), "plant:line-1:press.2"),
        (("Plant 1", "Linie Ä"), "Plant@201:Linie@20@C3@84"),
        (("a:b", "c"), "a@3Ab:c"),
        (("a@20b", "c"), "a@4020b:c"),
        (("-a", ".b"), "@2Da:@2Eb"),
        (("'; DROP TABLE x;--", "$(reboot)"), "@27@3B@20DROP@20TABLE@20x@3B--:@24@28reboot@29"),
    ],
)
def test_a_device_is_its_group_edge_node_and_name_escaped(names: tuple[str, ...], expected: str) -> None:
    assert device_id(*names) == expected


def test_a_metric_keeps_its_slashes_but_none_in_front() -> None:
    assert metric_id("Motor/Speed") == "Motor/Speed"
    assert metric_id("/etc/../x") == "@2Fetc/../x"
    with pytest.raises(Unfit):
        metric_id("")


def test_topics_are_read_as_they_are_written() -> None:
    for text in ("spBv1.0/g/NDATA/n", "spBv1.0/g/DCMD/n/d"):
        assert str(topic_of(text)) == text
    assert topic_of("spBv1.0/g/DDATA/n/d") == Topic("g", "DDATA", "n", "d")


def test_a_host_hears_every_group_or_those_it_names_and_its_own_state_last() -> None:
    assert filters((), "h")[:1] == ("spBv1.0/+/NBIRTH/+",)
    assert "spBv1.0/g/DDATA/+/+" in filters(("g",), "h")
    assert filters(("g", "k"), "h")[-1] == "spBv1.0/STATE/h"
    assert len(filters(("g", "k"), "h")) == 13


def test_a_name_of_ours_as_a_level_of_a_topic() -> None:
    assert level_of("g:n/d +#@") == "g:n@2Fd @2B@23@40"
