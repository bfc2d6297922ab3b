"""Plain values against a Struct: everything that does not fit, each with its path, where msgspec names the first only."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from holdfast_protocol.wire.flaws import Flaw, Path

MAX_MISFITS: Final = 50
_MAPS: Final = (inspect.StructType, inspect.DictType)
_LISTS: Final = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)
_WORDS: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "nothing"}
_ATOMS: Final[dict[type[inspect.Type], type[Any]]] = {
    inspect.StrType: str,
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.NoneType: type(None),
}


def misfits(value: Any, shape: Any, path: Path = (), *, nulls: bool = False) -> list[Flaw]:
    """Return what of a JSON value does not fit `shape`. `nulls`: a null counts as absent, as Kubernetes has it."""
    try:
        msgspec.convert(_without_nulls(value) if nulls else value, shape)
    except msgspec.ValidationError as error:
        found: list[Flaw] = []
        _walk(value, _info(shape), path, nulls, found)
        return found[:MAX_MISFITS] or [Flaw(path, str(error))]
    return []


@lru_cache(maxsize=512)
def _info(shape: Any) -> inspect.Type:
    return inspect.type_info(shape)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _walk(value: Any, info: inspect.Type, path: Path, nulls: bool, found: list[Flaw]) -> None:
    match info:
        case inspect.UnionType():
            _union(value, info, path, nulls, found)
        case inspect.LiteralType():
            _literal(value, info, path, found)
        case inspect.StructType() | inspect.DictType() if not isinstance(value, dict):
            found.append(_unlike(path, "a map", value))
        case inspect.StructType():
            _struct(value, info, path, nulls, found)
        case inspect.DictType():
            for key, each in value.items():
                if not (nulls and each is None):
                    _walk(each, info.value_type, (*path, key), nulls, found)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            if not isinstance(value, list):
                found.append(_unlike(path, "a list", value))
                return
            for index, each in enumerate(value):
                _walk(each, info.item_type, (*path, index), nulls, found)
        case _:
            if not _is_atom(value, info):
                found.append(_unlike(path, _word(info), value))


def _struct(value: dict[str, Any], info: inspect.StructType, path: Path, nulls: bool, found: list[Flaw]) -> None:
    fields = {each.encode_name: each for each in info.fields}
    for key, each in value.items():
        if nulls and each is None:
            continue
        if key in fields:
            _walk(each, fields[key].type, (*path, key), nulls, found)
        elif info.forbid_unknown_fields:
            near = _near(key, fields)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(sorted(fields))}"
            found.append(Flaw((*path, key), f"unknown field {key[:80]!r}", hint))
    for name, field in fields.items():
        if field.required and (name not in value or (nulls and value[name] is None)):
            found.append(Flaw(path, f"{name} is missing"))


def _union(value: Any, info: inspect.UnionType, path: Path, nulls: bool, found: list[Flaw]) -> None:
    likely = _MAPS if isinstance(value, dict) else _LISTS if isinstance(value, list) else ()
    for each in info.types:
        if isinstance(each, likely):
            _walk(value, each, path, nulls, found)
            return
    for each in info.types:
        tried: list[Flaw] = []
        _walk(value, each, path, nulls, tried)
        if not tried:
            return
    words = dict.fromkeys(_word(each) for each in info.types if not isinstance(each, inspect.NoneType))
    found.append(_unlike(path, " or ".join(words), value))


def _literal(value: Any, info: inspect.LiteralType, path: Path, found: list[Flaw]) -> None:
    if any(type(value) is type(each) and value == each for each in info.values):
        return
    words = [str(each) for each in info.values if each != ""]
    near = _near(str(value), words)
    hint = f"did you mean {near}?" if near else ""
    said = repr(value[:60]) if isinstance(value, str) else _got(value)
    found.append(Flaw(path, f"{said} is none of {', '.join(words)}", hint))


def _near(word: str, known: Iterable[str]) -> str:
    """Return which of the known words was probably meant, "" for none."""
    import difflib  # only for mistakes

    return next(iter(difflib.get_close_matches(word[:80], list(known), 1)), "")


def _is_atom(value: Any, info: inspect.Type) -> bool:
    wanted = _ATOMS.get(type(info))
    if wanted is None:  # anything at all, or what msgspec alone can judge
        return True
    return type(value) is wanted or (wanted is float and type(value) is int)


def _word(info: inspect.Type) -> str:
    if isinstance(info, _MAPS):
        return "a map"
    if isinstance(info, _LISTS):
        return "a list"
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(str(each) or '""' for each in info.values)
    return _WORDS[_ATOMS.get(type(info), type(None))]


def _got(value: Any) -> str:
    return "a map" if isinstance(value, dict) else "a list" if isinstance(value, list) else _WORDS[type(value)]


def _unlike(path: Path, wanted: str, value: Any) -> Flaw:
    hint = f'in quotes it is text: "{value}"' if wanted == "text" and type(value) in (int, float) else ""
    return Flaw(path, f"must be {wanted}, not {_got(value)}", hint)
