"""Cases of the shared format: what a judge says of one, and how a document is made from a bare value."""

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.yaml_text import Place

Case = dict[str, Any]


class Verdict(msgspec.Struct, frozen=True):
    """`got` says what came out instead when the case failed; `features` are what a deviation can name."""

    passed: bool
    got: str = ""
    features: frozenset[str] = frozenset()


Judge = Callable[[Case, dict[str, Any]], Verdict]  # the case, and the file without its cases


def judged(got: Any, wanted: Any, *features: str) -> Verdict:
    return Verdict(got == wanted, "" if got == wanted else f"{got!r}", frozenset(features))


def failing(case: Case, problem: str, *features: str) -> Verdict:
    """Return the verdict on an input that was refused."""
    expected = "error" in case["expect"]
    return Verdict(expected, "" if expected else f"refused: {problem}", frozenset(features))


def document_of(value: dict[str, Any]) -> Document:
    """Return a value as a document that stands nowhere."""
    return Document(value, Place(0, 0))


def problems() -> Problems:
    return Problems(document_of({"apiVersion": "v1", "kind": "Case"}))
