"""Shell metacharacters in every place of every kind where text may stand: refused, with a reason, or plain text."""

from itertools import cycle, islice

import pytest

from holdfast_protocol.kinds.table import KINDS, check
from support.specimens import SHELL, SPECIMENS, body, is_taken, places, planted

MANY = 50  # places; so many share the texts
ASSERTED_ONLY = {"SecureBoot"}  # kinds whose spec has no text


def test_there_is_a_valid_specimen_of_every_kind_and_text_in_all_but_those_named() -> None:
    assert set(SPECIMENS) == set(KINDS)
    assert [kind for kind in KINDS if not is_taken(kind, SPECIMENS[kind])] == []
    assert {kind for kind in KINDS if not places(kind)} == ASSERTED_ONLY


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_hostile_text_is_refused_or_taken_as_text(kind: str) -> None:
    found = places(kind)
    for number, path in enumerate(found):
        for text in SHELL if len(found) < MANY else islice(cycle(SHELL), number, number + 2):
            for flaw in check(body(kind, planted(kind, SPECIMENS[kind], path, text), "h")):
                assert flaw.message
