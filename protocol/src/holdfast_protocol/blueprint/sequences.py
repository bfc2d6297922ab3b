"""Lists and patterns in CEL, as Kubernetes adds them: isSorted, sum, min, max, indexOf; find and findAll with RE2."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from holdfast_protocol.blueprint.constraints import compiled_pattern
from holdfast_protocol.blueprint.functions import Function

_SUMMED: Final = ("int", "uint", "double")
_COMPARED: Final = (*_SUMMED, "bool", "string", "bytes")
_SORTED: Final = (
    *_COMPARED,
    "duration",
    "timestamp",
)  # which the library takes from no function that may return others


def _same_kind(items: list[Any], name: str) -> list[Any]:
    """Return items that compare with each other. ValueError when they do not."""
    kinds = {_kind(each) for each in items}
    if len(kinds) > 1 or not kinds <= {int, float, bool, str, bytes, datetime, timedelta}:
        raise ValueError(f"{name}: the items do not compare")
    return items


def _kind(value: Any) -> type:
    return bytes if isinstance(value, bytearray) else datetime if isinstance(value, datetime) else type(value)


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    kinds = {_kind(each) for each in items}
    if len(kinds) > 1 or not kinds <= {int, float}:
        raise ValueError("sum: the items are no numbers of one kind")
    total = sum(items)
    if isinstance(total, int) and not -(2**63) <= total < 2**64:
        raise ValueError("sum: the result does not fit 64 bits")
    return total


def _extreme(name: str, choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name}: the list is empty")
        return choose(_same_kind(items, name))

    return extreme


def _is_sorted(items: list[Any]) -> bool:
    found = _same_kind(items, "isSorted")
    return all(before <= after for before, after in pairwise(found))


def _index_of(items: list[Any], value: Any) -> int:
    return next((index for index, each in enumerate(items) if _equal(each, value)), -1)


def _last_index_of(items: list[Any], value: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if _equal(items[index], value)), -1)


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _find(text: str, pattern: str) -> str:
    found = _pattern(pattern).search(text)
    return str(found.group(0)) if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    end = -1
    for each in _pattern(pattern).finditer(text) if limit else ():
        if each.start() == each.end() == end:
            continue  # nothing, right after a match
        found.append(str(each.group(0)))
        end = each.end()
        if len(found) == limit:
            break
    return found


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> Any:
    return compiled_pattern(pattern)


def _typed(result: str, kinds: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return how the checker sees a function of one list: for each kind of item, `result` or that kind."""
    return tuple(((f"list({kind})",), result or kind) for kind in kinds)


_POSITIONS: Final = ((("list", "dyn"), "int"),)

FUNCTIONS: Final = (
    Function("isSorted", ("list",), "bool", _is_sorted, True, _typed("bool", _SORTED)),
    Function("sum", ("list",), "dyn", _sum, True, _typed("", _SUMMED)),
    Function("min", ("list",), "dyn", _extreme("min", min), True, _typed("", _COMPARED)),
    Function("max", ("list",), "dyn", _extreme("max", max), True, _typed("", _COMPARED)),
    Function("indexOf", ("list", "any"), "int", _index_of, True, _POSITIONS),
    Function("lastIndexOf", ("list", "any"), "int", _last_index_of, True, _POSITIONS),
    Function("find", ("string", "string"), "string", _find, member=True),
    Function("findAll", ("string", "string"), "list", _find_all, True, ((("string", "string"), "list(string)"),)),
    Function(
        "findAll",
        ("string", "string", "int"),
        "list",
        _find_all,
        True,
        ((("string", "string", "int"), "list(string)"),),
    ),
)
