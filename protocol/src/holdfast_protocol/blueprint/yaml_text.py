"""YAML text to plain values, each with its line and column; JSON is read the same way.

Core types of YAML 1.2 only: `yes` and `0755` are never silently a boolean or a number. Read from the parser's events,
without recursion, so depth, count and size are bounded before anything is built. Anchors, aliases, tags, merge keys and
duplicate keys are refused, every one of them with its place; only broken syntax ends the reading early.
"""

import math
import re
from typing import Any, Final

import msgspec
import yaml
from yaml._yaml import CParser

from holdfast_protocol.errors import Problem

MAX_CHARACTERS: Final = 4 * 1024 * 1024  # of one file
MAX_VALUE: Final = 512 * 1024  # characters of one scalar
MAX_KEY: Final = 1024  # characters of one key
MAX_DEPTH: Final = 32  # as on the wire
MAX_VALUES: Final = 100_000  # in one file
MAX_DOCUMENTS: Final = 2_000
MAX_PROBLEMS: Final = 100  # more are counted, not listed

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OLD_OCTAL: Final = re.compile(r"[-+]?0[0-9]+")
_OLD_BOOLEAN: Final = re.compile(r"yes|no|on|off", re.IGNORECASE)
_JSON_ESCAPES: Final = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)


class Place(msgspec.Struct):
    """Where a value stands, from 1; `keys` are the places of a map's keys, `inside` of its values or a list's items.

    `style` is a text's: "" plain, a quote, or the mark of a block.
    """

    line: int
    column: int
    keys: dict[str, tuple[int, int]] = {}
    inside: "dict[str, Place] | list[Place] | None" = None
    style: str = ""


class Parsed(msgspec.Struct):
    """One document of a file: its value, where everything in it stands, and its own text."""

    value: Any
    place: Place
    text: str


class _Open(msgspec.Struct):
    """A list or map being read; `key` is set between a map's key and its value."""

    value: Any
    place: Place
    key: str | None = None


def core_value(text: str) -> str | int | float | bool | None:
    """Return a plain scalar by the core schema of YAML 1.2. ValueError with the reason when it must not be guessed."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _OLD_OCTAL.fullmatch(text):
        raise ValueError(f"{text[:40]} is octal to some readers and decimal to others")
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        if len(text) > 24 or not -(2**63) <= (number := int(text, base)) < 2**63:
            raise ValueError(f"an integer of {len(text)} characters does not fit 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text) if len(text) <= 400 else math.inf
        if math.isinf(value):
            raise ValueError("the number does not fit 64 bits")
        return value
    if _NOT_JSON.fullmatch(text):
        raise ValueError(f"{text} is not a value JSON can carry")
    return text


def parse(text: str, file: str = "") -> tuple[list[Parsed], list[Problem]]:
    """Return the documents of a file (empty ones left out) and everything wrong with them."""
    reader = _Reader(file)
    if len(text) > MAX_CHARACTERS:
        reader.problem(0, 0, f"{len(text)} characters, the limit is {MAX_CHARACTERS}")
        return [], reader.problems
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        text = _JSON_ESCAPES.sub(_joined_surrogates, text)
    if found := re.search("[\ud800-\udfff]", text):
        reader.problem(text.count("\n", 0, found.start()) + 1, 0, "half of a surrogate pair is no character")
        return [], reader.problems
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        reader.problem(*place, " ".join(part for part in (error.problem, error.context) if part) or "not YAML")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reader.problem(line, 0, f"{error.reason}: {error.character!r}", hint="write it as an escape in double quotes")
    if reader.unlisted:
        reader.problems.append(Problem(f"and {reader.unlisted} more problems", file))
    return reader.documents, reader.problems


def _joined_surrogates(found: "re.Match[str]") -> str:
    if not found[1]:
        return found[0]
    point = 0x10000 + ((int(found[1], 16) & 0x3FF) << 10) + (int(found[2], 16) & 0x3FF)
    return f"\\U{point:08x}"


class _Reader:
    """Builds values from events; a container is put into its parent when it ends."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.unlisted = 0
        self.documents: list[Parsed] = []
        self._stack: list[_Open] = []
        self._count = 0
        self._root: tuple[Any, Place] | None = None

    def problem(self, line: int, column: int, message: str, *, hint: str = "", warning: bool = False) -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            self.unlisted += 1
            return
        severity = "warning" if warning else "error"
        self.problems.append(Problem(message, self.file, line, column, hint=hint, severity=severity))  # type: ignore[arg-type]

    def read(self, text: str) -> None:
        parser = CParser(text)
        begin, before = 0, 0
        try:
            while (event := parser.get_event()) is not None and not isinstance(event, yaml.StreamEndEvent):
                if isinstance(event, yaml.DocumentStartEvent):
                    begin = _index(event.start_mark) if before else 0
                    if event.tags:
                        self._refuse(event, "%TAG is refused: values have the types they show")
                elif isinstance(event, yaml.DocumentEndEvent):
                    if not self._end_document(text[begin : _index(event.end_mark)]):
                        return
                    before += 1
                elif not self._take(event):
                    return
        finally:
            parser.dispose()

    def _end_document(self, text: str) -> bool:
        value, place = self._root or (None, Place(1, 1))
        self._root = None
        if value is not None:
            self.documents.append(Parsed(value, place, text))
        if len(self.documents) > MAX_DOCUMENTS:
            self.problem(place.line, 0, f"more than {MAX_DOCUMENTS} documents")
            return False
        return True

    def _take(self, event: yaml.Event) -> bool:
        """Take one event; false ends the reading, at a bound that protects us."""
        if isinstance(event, yaml.NodeEvent):
            self._count += 1
            if self._count > MAX_VALUES:
                self._refuse(event, f"more than {MAX_VALUES} values")
                return False
            if event.anchor and not isinstance(event, yaml.AliasEvent):
                self._refuse(event, f"anchor &{event.anchor[:40]} is refused: write the value where it is used")
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"alias *{(event.anchor or '')[:40]} is refused: write the value where it is used")
            self._put(None, _place(event), "")
        elif isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event)
            if len(self._stack) >= MAX_DEPTH:
                self._refuse(event, f"nested deeper than {MAX_DEPTH}")
                return False
            is_map = isinstance(event, yaml.MappingStartEvent)
            place = _place(event)
            place.inside = {} if is_map else []
            if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
                self._refuse(event, "a list or map cannot be a key")
                self._stack[-1].key = f"\0{self._count}"  # never read: the problem refuses the file
            self._stack.append(_Open({} if is_map else [], place))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            self._put(done.value, done.place, "")
        return True

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        text, place = event.value, _place(event)
        place.style = event.style or ""
        plain = event.implicit[0] and event.style in (None, "")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._take_key(top, text, place, plain)
            return
        value: Any = text
        if "\0" in text:
            self._refuse(event, "the character NUL is in no text a machine can use")
        elif len(text) > MAX_VALUE:
            self._refuse(event, f"a value of {len(text)} characters, the limit is {MAX_VALUE}")
            value = ""
        elif plain:
            try:
                value = core_value(text)
            except ValueError as error:
                hint = f'"{text}" in quotes is text; 0o{text.lstrip("+-0") or 0} is octal'
                self.problem(
                    place.line, place.column, str(error), hint=hint if _OLD_OCTAL.fullmatch(text[:40]) else "quote it"
                )
            if _OLD_BOOLEAN.fullmatch(text):
                self.problem(
                    place.line,
                    place.column,
                    f"{text} is text here, not a boolean",
                    hint=f'true or false, or "{text}" in quotes',
                    warning=True,
                )
        self._put(value, place, text)

    def _take_key(self, top: _Open, text: str, place: Place, plain: bool) -> None:
        if plain and (text in _NULL or text == "<<"):
            what = "merge keys are refused" if text == "<<" else "a key cannot be empty"
            self.problem(place.line, place.column, what, hint="quote it if the key is meant as text")
        if len(text) > MAX_KEY:
            self.problem(place.line, place.column, f"a key of {len(text)} characters, the limit is {MAX_KEY}")
            text = f"\0{self._count}"
        if text in top.value:
            line, column = top.place.keys[text]
            self.problem(
                place.line, place.column, f"duplicate key {text[:80]!r}, first at line {line}, column {column}"
            )
        else:
            top.place.keys[text] = (place.line, place.column)
        top.key = text

    def _put(self, value: Any, place: Place, text: str) -> None:
        if not self._stack:
            self._root = (value, place)
            return
        top = self._stack[-1]
        if isinstance(top.place.inside, list):
            top.value.append(value)
            top.place.inside.append(place)
        elif top.key is None:  # an alias where a key should be; already refused
            top.key = f"\0{self._count}{text}"
        elif isinstance(top.place.inside, dict):
            top.value.setdefault(top.key, value)
            top.place.inside.setdefault(top.key, place)
            top.key = None

    def _refuse(self, event: yaml.Event, message: str) -> None:
        place = _place(event)
        self.problem(place.line, place.column, message)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag[:80]} is refused: values have the types they show")


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(0, 0)


def _index(mark: Any) -> int:
    return int(mark.index)
