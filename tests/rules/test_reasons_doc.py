"""docs/reasons.md: every reason the code gives, and none it does not."""

import re
from pathlib import Path

from support.reasons import REASON, reasons_given, words_of_the_code

TEXT = (Path(__file__).resolve().parents[2] / "docs/reasons.md").read_text()
ROWS = [line.split(" | ")[0] for line in TEXT.splitlines() if line.startswith("| `")]
LISTED = [word for row in ROWS for word in re.findall(r"`([^`]+)`", row)]
MADE = {"OutboxDamaged", "OutboxLost", "OutboxRestored", "StartedAnew"}  # put together of two words; within SQL


def test_every_reason_has_its_line() -> None:
    assert sorted(reasons_given() - set(LISTED)) == [], "give each its line in docs/reasons.md"


def test_every_line_is_of_a_reason_the_code_has() -> None:
    assert sorted(set(LISTED) - words_of_the_code() - MADE) == []


def test_a_reason_is_explained_once_and_is_one_word() -> None:
    assert sorted(LISTED) == sorted(set(LISTED))
    assert all(REASON.fullmatch(word) for word in LISTED)
