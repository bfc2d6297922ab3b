"""Topics are built and parsed by one module, and each undoes the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import names, topics
from holdfast_protocol.wire.names import NodeName, SiteName

name = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@st.composite
def addresses(draw: st.DrawFn) -> topics.Address:
    channel = draw(st.sampled_from(sorted(topics.TABLE)))
    pattern = topics.TABLE[channel].pattern
    identifier = ""
    if "{n}" in pattern:
        identifier = str(draw(st.integers(0, 999_999_999)))
    elif channel == "doc":
        identifier = draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
    elif "{id}" in pattern:
        identifier = draw(name)
    return topics.Address(
        channel=channel,
        site=SiteName(draw(name)) if "{site}" in pattern else SiteName(""),
        node=NodeName(draw(name)) if "{node}" in pattern else NodeName(""),
        id=identifier,
        stream=draw(st.sampled_from(topics.STREAM_CLASSES)) if "{class}" in pattern else "",
    )


@given(addresses())
def test_parsing_undoes_building(address: topics.Address) -> None:
    assert topics.parse(topics.topic(address)) == address


@given(addresses())
def test_no_topic_has_more_than_seven_slashes(address: topics.Address) -> None:
    assert topics.topic(address).count("/") <= 7


@given(st.text(max_size=200) | name.map(lambda text: f"hf/1/00/{text}/target"))
def test_any_other_text_is_refused_or_round_trips(text: str) -> None:
    try:
        address = topics.parse(text)
    except WireError:
        return
    assert topics.topic(address) == text


@pytest.mark.parametrize("site", ["", "a" * 64, "Press", "a/b", "+", "#", "a\n", "-a", "a-", "é", "a b", "a\x00"])
def test_a_hostile_site_name_never_becomes_a_topic(site: str) -> None:
    with pytest.raises(WireError):
        topics.topic(topics.Address("target", site=SiteName(site)))


def test_a_topic_in_the_wrong_partition_is_refused() -> None:
    right = topics.topic(topics.Address("target", site=SiteName("press-01")))
    wrong = right.replace(f"/{names.partition(SiteName('press-01'))}/", "/7f/")
    with pytest.raises(WireError, match="no such topic"):
        topics.parse(wrong)


def test_partitions_are_stable_and_all_listed() -> None:
    assert names.partition(SiteName("press-01")) == "32"  # a stored fleet depends on it
    assert len(set(names.all_partitions())) == names.PARTITIONS


def test_a_filter_of_one_partition_leaves_the_others_out() -> None:
    assert topics.filter_for("up", names.Partition("0a")) == "hf/1/0a/+/+/up/+"
    assert topics.filter_for("hello") == "hf/1/+/+/+/hello"
