"""The shared cases: our own small selection always, the whole set where it lies beside the repository."""

import json
from pathlib import Path

import pytest

from support.conformance.main import DEVIATIONS, kind_of, load_deviations, main, run

ROOT = Path(__file__).parents[4]
OWN = sorted((ROOT / "tests" / "data" / "vectors").glob("*.json"))
SHARED = sorted((ROOT.parent / "shared" / "vectors").glob("*.json"))


@pytest.mark.parametrize("path", [*OWN, *SHARED], ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_no_case_fails_that_is_not_a_reasoned_deviation(path: Path) -> None:
    outcome = run(path, load_deviations())
    assert outcome.failures == []
    assert outcome.total > 0


def test_the_selection_has_every_kind_we_judge() -> None:
    assert len(OWN) == 10


def test_every_deviation_has_a_reason() -> None:
    assert all(len(each.reason) > 10 for each in load_deviations())
    assert DEVIATIONS.parent.name == "docs"


def test_a_case_that_fails_is_printed_and_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.json"
    cases = [
        {"id": "x-1", "text": "${a}", "expect": {"kind": "literal", "parts": []}},
        {"id": "x-2", "text": "a", "expect": {"kind": "literal", "parts": []}},
    ]
    path.write_text(json.dumps({"source": "here", "cases": cases}))
    assert main([str(path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "wrong 1/2"
    assert printed[1].startswith("  FAILED x-1: expected")


def test_a_file_of_no_known_kind_fails_the_run(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"cases": [{"id": "a", "expect": 1}]}')
    assert main([str(path)]) == 1
    assert kind_of([], {}) == ""
