"""What every test may ask for, the order of the files, and the rule that nothing is skipped where it counts."""

import os
from collections.abc import Generator
from itertools import groupby

import pytest

# Files that take long, mostly waiting, the longest first.
LONG = (
    "system/test_kills",
    "system/test_scenarios",
    "system/test_faults_site",
    "system/test_dead_man",
    "system/test_demo",
    "system/test_eject",
    "rules/test_distributions",
    "system/test_every_kind",
    "system/test_faults_hub",
    "system/test_reboot_site",
    "system/test_agent_upgrade",
    "system/test_container_kinds",
    "system/test_people_site",
    "system/test_container_health",
    "system/test_kernel_site",
    "system/test_cli_objects",
    "system/test_cut_off_site",
    "system/test_hostile_strings",
    "system/test_rollback",
    "broker/test_hub_process",
    "broker/test_amqp",
    "broker/test_amqp10",
    "system/test_device_data",
    "system/test_overrides",
    "system/test_systemd_units",
    "system/test_network_site",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI=true a skip is a failure: what a machine lacks, scripts/setup must install."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped under CI=true: {item.nodeid}: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the long files among the others, the longest first and none at the end: a long one that begins last leaves the
    other worker idle, and two at a time want more than two processors."""
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    long = sorted((each for each in files if _name(each) in LONG), key=lambda each: LONG.index(_name(each)))
    others = [each for each in files if _name(each) not in LONG]
    places = [(number / len(long), each) for number, each in enumerate(long)]
    places += [(number / len(others), each) for number, each in enumerate(others, 1)]
    items[:] = [test for _, tests in sorted(places, key=lambda place: place[0]) for test in tests]


def _name(tests: list[pytest.Item]) -> str:
    """Return the name of a file and its folder."""
    return f"{tests[0].path.parent.name}/{tests[0].path.stem}"
