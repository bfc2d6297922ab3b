"""Documents: what people hand in, as values that know where they stand in their file."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint import yaml_text
from holdfast_protocol.blueprint.yaml_text import Place
from holdfast_protocol.errors import InputError, Problem

Path = tuple[str | int, ...]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][-\w]*")


def path_text(path: Path) -> str:
    """Return a path as people write it: spec.resources[0].template.data["a.b"]."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif len(step) <= 80 and _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f'["{step[:80]}"]')
    return "".join(parts)


class Document(msgspec.Struct, frozen=True):
    """One document. `name` is metadata.name or, without one, spec.name; empty when neither is text."""

    value: dict[str, Any]
    root: Place
    file: str = ""
    text: str = ""  # of this document alone, as written
    warnings: tuple[Problem, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.value["kind"])

    @property
    def api_version(self) -> str:
        return str(self.value["apiVersion"])

    @property
    def name(self) -> str:
        for part in ("metadata", "spec"):
            inside = self.value.get(part)
            if isinstance(inside, dict) and isinstance(inside.get("name"), str) and inside["name"]:
                return str(inside["name"])
        return ""

    def place(self, path: Path = ()) -> tuple[int, int]:
        """Return (line, column) of the value at `path`, or of what is nearest above it, from 1."""
        found = self._walk(path)
        return (found.line, found.column)

    def key_place(self, path: Path) -> tuple[int, int]:
        """Return (line, column) of the last key of `path`, or of the value where that is no map's key."""
        above = self._walk(path[:-1])
        return above.keys.get(str(path[-1]), self.place(path)) if path else self.place()

    def place_in(self, path: Path, offset: int) -> tuple[int, int]:
        """Return where character `offset` of the text at `path` stands; column 0 inside a `|` block.

        After an escape in double quotes the column is as many characters early as the escape is longer.
        """
        found = self._walk(path)
        text: Any = self.value
        for step in path:
            text = text[step]
        if found.style == "|":
            return (found.line + 1 + str(text).count("\n", 0, offset), 0)
        if found.style == ">" or "\n" in str(text):
            return (found.line, found.column)
        return (found.line, found.column + offset + len(found.style))

    def problem(self, path: Path, message: str, *, hint: str = "", at_key: bool = False) -> Problem:
        line, column = self.key_place(path) if at_key else self.place(path)
        resource = f"{self.kind[:63]}/{self.name[:63]}"
        return Problem(message, self.file, line, column, path_text(path), resource, hint)

    def _walk(self, path: Path) -> Place:
        at = self.root
        for step in path:
            below = at.inside
            if isinstance(below, dict):
                found = below.get(str(step))
            else:
                found = below[step] if below and isinstance(step, int) and step < len(below) else None
            if found is None:
                break
            at = found
        return at


def read_documents(text: str, file: str = "") -> list[Document]:
    """Return the documents of a YAML or JSON file. InputError with every problem and its place."""
    parsed, problems = yaml_text.parse(text, file)
    warnings = tuple(problem for problem in problems if problem.severity == "warning")
    errors = [problem for problem in problems if problem.severity == "error"]
    documents = []
    for each in parsed:
        missing = _missing(each.value)
        errors += [Problem(message, file, each.place.line, each.place.column) for message in missing]
        if not missing:
            documents.append(Document(each.value, each.place, file, each.text, _within(warnings, each)))
    if errors:
        raise InputError(errors)
    return documents


def _missing(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return ["a document is a map with apiVersion, kind and spec"]
    return [
        f"{key} must be text" if key in value else f"{key} is missing"
        for key in ("apiVersion", "kind")
        if not isinstance(value.get(key), str) or not value[key]
    ]


def _within(warnings: tuple[Problem, ...], parsed: yaml_text.Parsed) -> tuple[Problem, ...]:
    last = parsed.place.line + parsed.text.count("\n")
    return tuple(each for each in warnings if parsed.place.line <= each.line <= last)
