"""From a plain JSON value to a Struct, naming every field that is not understood and the first value that does not fit."""

import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from holdfast_protocol.errors import PermanentError, Problem, UnsupportedError

T = TypeVar("T")
MAX_UNKNOWN: Final = 20  # named in one report; more are as many signs of a wrong file
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`(?: - at `\$(?P<path>.*)`)?")
_PLACE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_PART: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def shaped(value: Any, kind: type[T], where: str) -> T:
    """Return `value` as `kind`; `where` is its path in the document, "" for the whole.

    A null counts as absent, as it does in Kubernetes. Raises UnsupportedError (UnsupportedField) naming all fields
    unknown here, PermanentError (BadField) for a value of the wrong type.
    """
    value = _without_nulls(value)
    unknown: list[Problem] = []
    while True:
        try:
            found = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            unknown_field = _UNKNOWN.fullmatch(str(error))
            if unknown_field is None:
                place = _PLACE.fullmatch(str(error))
                what, path = (place["what"], place["path"]) if place else (str(error), "")
                refuse([*unknown, Problem(_lower(what), path=_joined(where, path or ""))], reason="BadField")
            path = unknown_field["path"] or ""
            unknown.append(
                Problem("not supported at a site", path=f"{_joined(where, path)}.{unknown_field['field']}".lstrip("."))
            )
            if len(unknown) == MAX_UNKNOWN or not _drop(value, path, unknown_field["field"]):
                refuse(unknown, reason="UnsupportedField", unsupported=True)
            continue
        if unknown:
            refuse(unknown, reason="UnsupportedField", unsupported=True)
        return found


def refuse(problems: list[Problem], *, reason: str, unsupported: bool = False) -> NoReturn:
    """Raise all problems as one error: each path with its why, the first hint."""
    kind = UnsupportedError if unsupported else PermanentError
    hint = next((problem.hint for problem in problems if problem.hint), "")
    raise kind("; ".join(str(problem) for problem in problems), reason=reason, hint=hint, problems=problems)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _joined(where: str, path: str) -> str:
    return (where + path).lstrip(".")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _drop(value: Any, path: str, field: str) -> bool:
    """Take one field out of our copy, so that the next unknown one shows. False where the path leads through a map."""
    position = 0
    while position < len(path):
        part = _PART.match(path, position)
        if part is None:
            return False
        value = value[part[1]] if part[1] is not None else value[int(part[2])]
        position = part.end()
    return bool(value.pop(field, None) is not None)
