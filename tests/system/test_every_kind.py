"""Every kind on one booted site with a real agent and its hub: created, changed, repaired, removed, all in one run.

The rows are in `support.shown.table`; what of a kind these machines cannot show is said there, and in docs/resources.md.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from holdfast_protocol.kinds.table import KINDS, check
from support.booted import booted
from support.shown import ground
from support.shown.row import Failing
from support.shown.run import Run, run
from support.shown.table import FAILING, ROWS, bodies

_DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/resources.md").read_text().partition("\n## ")[0]
pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("every")
    with booted(folder, "press-01", *ground.OPTIONS, before=partial(ground.prepare, folder=folder)) as site:
        ground.start_agent(site.machine)
        yield run(site)


def test_every_kind_has_its_row() -> None:
    assert ROWS.keys() | FAILING.keys() == KINDS.keys()
    assert not ROWS.keys() & FAILING.keys()
    wrong = {kind: check(bodies(kind, changed=new)[0]) for kind in KINDS for new in (False, True)}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("kind", ROWS)
def test_a_kind_is_created_changed_repaired_and_removed(kind: str, shown: Run) -> None:
    row = ROWS[kind]
    seen = {phase: each.get(kind) for phase, each in shown.seen.items()}
    said = {phase: each.get(kind) for phase, each in shown.said.items()}
    assert seen["created"] == row.shows[0], said
    assert seen["changed"] == row.shows[1], said
    assert row.drift or row.undrifted, "nothing is done to it by hand, and no reason is given"
    assert (seen["drifted"] == row.shows[1]) == bool(row.unmoved or row.undrifted), seen
    assert seen["repaired"] == row.shows[1], said
    assert seen["removed"] == (row.shows[1] if row.kept else seen["before"]), said
    assert seen["before"] not in row.shows, "the machine shows it without the resource"


@pytest.mark.parametrize("kind", FAILING)
def test_a_kind_this_machine_has_not_says_so_and_changes_with_what_is_asked(kind: str, shown: Run) -> None:
    for pattern, text in zip(FAILING[kind].says, shown.failing[kind], strict=True):
        assert re.search(pattern, text), text


def test_the_documents_say_what_is_not_shown() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", _DOCUMENT.partition("What is not shown there")[2], re.MULTILINE))
    for kind in KINDS:
        row = ROWS.get(kind) or FAILING[kind]
        reasons = [row.why] if isinstance(row, Failing) else [row.unshown, row.undrifted, row.unmoved, row.kept]
        assert all(each in rows.get(kind, "") for each in reasons), kind
        assert any(reasons) or kind not in rows, kind


def test_the_hub_saw_every_phase_reached(shown: Run) -> None:
    assert not shown.trouble, "\n".join(shown.trouble.values())


@pytest.mark.invariant("only-owned-things-are-removed")
def test_the_machine_is_as_before(shown: Run) -> None:
    before, after = shown.standing
    assert (sorted(after - before), sorted(before - after)) == ([], [])
