"""Selectors as people type them: `zone in (a,b),!legacy,cpu>4` over labels, `name!=press-01` over fields."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast_hub.core.selectors import Operator, Requirement, Selector, check_requirement
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.wire.flaws import Flaw

MAX_TEXT: Final = 16 * 1024
_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|$)")
_SIGNS: Final[dict[str, Operator]] = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}
_FIELD_SIGNS: Final = re.compile(r"\\.|!=|==|=", re.DOTALL)


def parse_labels(text: str) -> Selector:
    """Return a label selector. Raises InputError."""
    return _Parser(_bounded(text)).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._judged = 0  # the token an error is about
        self._tokens: list[tuple[str, int]] = []
        at = 0
        while at < len(text) and (found := _TOKEN.match(text, at)) and found.end() > at:
            if found[1] or found[2]:
                self._tokens.append((found[1] or found[2], found.start(1 if found[1] else 2)))
            at = found.end()
        self._tokens.append(("", len(text)))

    def selector(self) -> Selector:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._requirement())
            if self._peek() and self._take() != ",":
                raise self._unexpected("',' or the end")
            if self._tokens[self._at - 1][0] == "," and not self._peek():
                self._judged = self._at
                raise self._unexpected("a key after ','")
        return tuple(found)

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return self._checked(Requirement(self._word("a key"), "DoesNotExist"))
        key = self._word("a key")
        sign = self._peek()
        if sign in ("", ","):
            return self._checked(Requirement(key, "Exists"))
        self._take()
        if sign in ("in", "notin"):
            return self._checked(Requirement(key, "In" if sign == "in" else "NotIn", self._values()))
        if sign not in _SIGNS:
            raise self._unexpected("in, notin, =, ==, !=, > or <")
        value = "" if self._peek() in ("", ",") else self._word("a value")
        spelled = sign if sign in ("=", "==", "!=") else ""
        return self._checked(Requirement(key, _SIGNS[sign], (value,), spelled))

    def _values(self) -> tuple[str, ...]:
        if self._take() != "(":
            raise self._unexpected("'('")
        values = [""]
        while (each := self._take()) != ")":
            if each == ",":
                values.append("")
            elif each and each[0] not in "(!<>=" and not values[-1]:
                values[-1] = each
            else:
                raise self._unexpected("',' or ')'")
        return tuple(sorted(set(values)))

    def _checked(self, requirement: Requirement) -> Requirement:
        flaws: list[Flaw] = []
        check_requirement(requirement, flaws, (), ())
        if flaws:
            raise _refused(self._text, flaws[0].message, self._tokens[self._at - 1][1])
        return requirement

    def _word(self, what: str) -> str:
        token = self._take()
        if not token or token[0] in "=!(),<>":
            raise self._unexpected(what)
        return token

    def _peek(self) -> str:
        return self._tokens[self._at][0]

    def _take(self) -> str:
        token = self._tokens[self._at][0]
        self._judged = self._at
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _unexpected(self, expected: str) -> InputError:
        token, at = self._tokens[self._judged]
        return _refused(self._text, f"expected {expected}, found {token!r}" if token else f"expected {expected}", at)


class FieldTerm(msgspec.Struct, frozen=True):
    """One condition of a field selector; an absent field reads as empty text."""

    key: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.key}{'!=' if self.negated else '='}{escaped}"


def parse_fields(text: str) -> tuple[FieldTerm, ...]:
    """Return a field selector; `\\,`, `\\=` and `\\\\` stand for themselves in values. Raises InputError."""
    terms = []
    for start, part in _split(_bounded(text)):
        if not part:
            continue
        sign = next((each for each in _FIELD_SIGNS.finditer(part) if each[0][0] != "\\"), None)
        if sign is None:
            raise _refused(text, f"{part[:80]!r} has no =, == or !=", start)
        value = _unescaped(text, part[sign.end() :], start + sign.end())
        terms.append(FieldTerm(part[: sign.start()], value, sign[0] == "!="))
    return tuple(terms)


def field_terms_hold(terms: tuple[FieldTerm, ...], fields: Mapping[str, str]) -> bool:
    return all((fields.get(each.key, "") == each.value) is not each.negated for each in terms)


def _split(text: str) -> list[tuple[int, str]]:
    parts, start = [], 0
    for found in re.finditer(r"\\.|,", text, re.DOTALL):
        if found[0] == ",":
            parts.append((start, text[start : found.start()]))
            start = found.end()
    return [*parts, (start, text[start:])]


def _unescaped(text: str, value: str, start: int) -> str:
    sound = re.match(r"(?:\\[\\,=]|[^\\=])*", value)
    if sound is not None and sound.end() < len(value):
        raise _refused(text, "a value writes \\, = and , as \\\\, \\= and \\,", start + sound.end())
    return re.sub(r"\\(.)", r"\1", value)


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InputError([Problem(f"a selector of {len(text)} characters, the limit is {MAX_TEXT}")])
    return text


def _refused(text: str, message: str, at: int) -> InputError:
    return InputError([Problem(f"{message} (selector {text[:200]!r})", line=1, column=at + 1)])
