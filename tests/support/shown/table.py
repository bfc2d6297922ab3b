"""Every kind of `holdfast_protocol.kinds.table`, and how it is shown on a booted machine. To add one: `support.shown.row`."""

from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.table import KINDS
from support.shown import containers, system, units
from support.shown.row import Failing, Row

ROWS: Final[dict[str, Row]] = {**system.ROWS, **units.ROWS, **containers.ROWS}
FAILING: Final[dict[str, Failing]] = system.FAILING


def bodies(kind: str, *, changed: bool) -> list[dict[str, Any]]:
    """Return the documents of a kind's row, its own first."""
    row: Row | Failing = ROWS[kind] if kind in ROWS else FAILING[kind]
    spec = row.second if changed else row.first
    more = row.metadata if isinstance(row, Row) else {}
    frame = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": {"name": row.name, **more}}
    own = {**frame, **spec} if KINDS[kind].whole else {**frame, "spec": spec}
    made = [own, *(row.also if isinstance(row, Row) else ())]
    whole: list[dict[str, Any]] = msgspec.json.decode(
        msgspec.json.encode(made)
    )  # no part is another's: YAML would say so
    return whole
