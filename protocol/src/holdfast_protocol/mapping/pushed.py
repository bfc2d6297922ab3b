"""What devices push without rules: objects that name their device and metric themselves, one or a list of them."""

from typing import Any, Final

from holdfast_protocol.mapping.compiled import MAX_READINGS, Taken
from holdfast_protocol.mapping.convention import single
from holdfast_protocol.mapping.formats import Reader, decoded
from holdfast_protocol.mapping.values import Rejection, Unfit, named
from holdfast_protocol.wire.readings import Reading

_FIELDS: Final = frozenset({"device", "metric", "value", "time", "unit", "quality"})


def pushed(payload: bytes, received: int, reader: Reader) -> Taken | Rejection:
    """Return the readings of a body: JSON or CBOR, an object or a list; or CSV with columns of those names."""
    try:
        content = decoded(payload, reader)
        if reader.is_listed:
            content = [_cells(row) for row in content]
        found = content if isinstance(content, list) else [content]
        if not found:
            raise Unfit("Empty", "a list without readings")
        if len(found) > MAX_READINGS:
            raise Unfit("TooMany", f"{len(found)} readings, the limit is {MAX_READINGS}")
        return Taken(0, [_reading(each, n, received) for n, each in enumerate(found)])
    except Unfit as unfit:
        return unfit.rejection()


def _reading(content: Any, number: int, received: int) -> Reading:
    place = f"[{number}]"
    if not isinstance(content, dict):
        raise Unfit("BadValue", "a reading is an object with device, metric and value", place)
    if unknown := sorted(set(content) - _FIELDS):
        raise Unfit("UnknownField", f"{unknown[0][:80]!r} is none of {', '.join(sorted(_FIELDS))}", place)
    try:
        return single(named("device", content.get("device")), named("metric", content.get("metric")), content, received)
    except Unfit as unfit:
        unfit.place = place
        raise


def _cells(row: dict[str, str]) -> dict[str, Any]:
    """Return a line of CSV as an object: empty cells are absent, numbers are numbers."""
    found: dict[str, Any] = {key: cell for key, cell in row.items() if cell != ""}
    for field in ("value", "time"):
        if field in found:
            found[field] = _number(found[field])
    return found


def _number(cell: str) -> Any:
    try:
        return decoded(cell.encode(), Reader("number"))
    except Unfit:
        return {"true": True, "false": False}.get(cell, cell)
