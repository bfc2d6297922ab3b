"""A subject says what it is made of, whatever devices and metrics call themselves."""

import re
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from holdfast_hub.sinks.nats import subject_of
from holdfast_hub.store.series import Row, SeriesRow
from holdfast_hub.store.sinks import Entry

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def entry(device: str, metric: str) -> Entry:
    return Entry("p3", "i", SeriesRow(1, "press-01", "node-1", device, metric, "", "good", "int"), Row(0, 1, 1, 1))


@given(NAMES, NAMES)
def test_every_name_is_one_token_that_can_be_read_back(device: str, metric: str) -> None:
    subject = subject_of("plant.{site}.{device}.{metric}", entry(device, metric))
    assert re.fullmatch(r"[A-Za-z0-9_%.-]+", subject)
    plant, site, *names = subject.split(".")
    assert (plant, site) == ("plant", "press-01")
    assert ["" if name == "%" else unquote(name) for name in names] == [device, metric]
