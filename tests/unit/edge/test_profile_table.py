"""Profiles: one table, an order in it, and edge.toml before it."""

import itertools

import pytest

from holdfast_edge.core import profiles
from holdfast_edge.core.profiles import TABLE, Budgets, by_memory, completed, unit

ORDER = ("micro", "mini", "standard")


@pytest.mark.parametrize(
    ("megabytes", "name"),
    [(0, "standard"), (256, "micro"), (511, "micro"), (512, "mini"), (2047, "mini"), (2048, "standard")],
)
def test_a_machine_has_the_profile_of_its_memory_and_one_that_does_not_say_is_a_large_one(
    megabytes: int, name: str
) -> None:
    assert by_memory(megabytes) == name


def test_a_larger_profile_never_takes_less() -> None:
    for smaller, larger in itertools.pairwise(ORDER):
        low, high = TABLE[smaller], TABLE[larger]  # type: ignore[index]
        for field in Budgets.__struct_fields__:
            assert getattr(low.budgets, field) <= getattr(high.budgets, field)
        assert all(low.quotas[each] <= high.quotas[each] for each in low.quotas)
        assert low.look_every_s >= high.look_every_s


def test_what_a_file_says_goes_before_its_profile_key_by_key() -> None:
    said = {"quotas": {"p3": 7}, "budgets": {"pulls_at_once": 9}, "timing": {"soak_s": 1.0}, "site": "press-01"}
    found = completed(said, "micro")
    assert (found["quotas"]["p3"], found["quotas"]["p0"]) == (7, 4 * profiles.MiB)
    assert (found["budgets"]["pulls_at_once"], found["budgets"]["changes_at_once"]) == (9, 2)
    assert found["timing"] == {"soak_s": 1.0, "look_every_s": 120.0}
    assert (found["site"], found["profile"]) == ("press-01", "micro")
    assert said["quotas"] == {"p3": 7}, "the file's own values are left alone"


def test_a_table_that_is_none_stays_to_be_refused() -> None:
    assert completed({"quotas": 7}, "mini")["quotas"] == 7


def test_the_unit_holds_the_agent_to_its_memory_and_keeps_odd_paths_one_word() -> None:
    text = unit('/opt/hold "fast"/bin/holdfast-edge', "/etc/holdfast/100%/edge.toml", TABLE["micro"].budgets)
    assert "MemoryHigh=96M\nMemoryMax=192M\n" in text
    assert 'ExecStart="/opt/hold \\"fast\\"/bin/holdfast-edge" run --config /etc/holdfast/100%%/edge.toml\n' in text


def test_systemd_goes_on_starting_the_agent_however_often_it_ends() -> None:
    text = unit("/opt/holdfast-edge", "/etc/holdfast/edge.toml", TABLE["micro"].budgets)
    head, _, service = text.partition("[Service]")
    assert "StartLimitIntervalSec=0\n" in head
    assert "RestartSec=" in service
