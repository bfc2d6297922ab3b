"""Expressions in text: where `${...}` begins and ends.

As kro scans: braces are counted, double-quoted text inside an expression is skipped, an unclosed `${` is plain text, one
expression inside another is refused. Our one addition: `$${` is a literal `${`, for unit files and shell text.
"""

import re
from typing import Final, Literal

import msgspec

MAX_LENGTH: Final = 16 * 1024  # characters between the braces
MAX_STARTS: Final = 1_000  # of `${` in one text
MAX_UNCLOSED: Final = 30  # of those, left open: each costs a look at all that follows
_MARKS: Final = re.compile(r'["{}\\]|\$\{')


class Part(msgspec.Struct, frozen=True):
    """One expression of a text; `offset` is where its source begins."""

    source: str
    offset: int


class Text(msgspec.Struct, frozen=True):
    """A text taken apart, in order; escapes are already undone in the plain pieces."""

    pieces: tuple[str | Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Part))

    @property
    def kind(self) -> Literal["literal", "expression", "template"]:
        """literal: as it stands; expression: the value, with its type; template: text from parts that are text."""
        if not self.parts:
            return "literal"
        return "expression" if len(self.pieces) == 1 else "template"


class ScanError(ValueError):
    """The text cannot be taken apart; `offset` says where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def scan(text: str) -> Text:
    """Return the pieces of a text. Raises ScanError."""
    pieces: list[str | Part] = []
    plain: list[str] = []
    done = at = starts = unclosed = 0
    while (start := text.find("${", at)) >= 0:
        starts += 1
        if starts > MAX_STARTS:
            raise ScanError(f"more than {MAX_STARTS} expressions in one text", start)
        if start > done and text[start - 1] == "$":
            plain += [text[done : start - 1], "${"]
            done = at = start + 2
            continue
        end = _closing(text, start)
        if end < 0:
            unclosed += 1
            if unclosed > MAX_UNCLOSED:
                raise ScanError(f"more than {MAX_UNCLOSED} expressions that are not closed", start)
            at = start + 1
            continue
        plain.append(text[done:start])
        if literal := "".join(plain):
            pieces.append(literal)
        plain.clear()
        pieces.append(Part(text[start + 2 : end], start + 2))
        done = at = end + 1
    if literal := "".join([*plain, text[done:]]):
        pieces.append(literal)
    return Text(tuple(pieces))


def _closing(text: str, start: int) -> int:
    """Return where the expression beginning at `start` is closed, -1 when it is not."""
    depth, quoted, at = 1, False, start + 2
    while found := _MARKS.search(text, at, start + 2 + MAX_LENGTH):
        mark, at = found[0], found.end()
        if quoted:
            if mark == "\\":
                at += 1
            elif mark == '"':
                quoted = False
        elif mark == '"':
            quoted = True
        elif mark == "${":
            if text[found.start() - 1] != '"':
                raise ScanError("an expression inside an expression", found.start())
            depth += 1
        elif mark == "{":
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                return found.start()
    if len(text) > start + 2 + MAX_LENGTH:
        raise ScanError(f"an expression is not closed within {MAX_LENGTH} characters", start)
    return -1
