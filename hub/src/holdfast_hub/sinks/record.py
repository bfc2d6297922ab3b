"""A reading as other systems read it."""

import math
from typing import Any

from holdfast_hub.store.sinks import Entry


def record_of(entry: Entry) -> dict[str, Any]:
    """Return a reading as a JSON object; docs/device-data.md names its fields. `time` is in milliseconds since 1970.

    Numbers that are none, or infinite, are null.
    """
    one, value = entry.series, entry.row.value
    return {
        "site": one.site,
        "node": one.node,
        "stream": entry.stream,
        "incarnation": entry.incarnation,
        "sequence": entry.row.sequence,
        "device": one.device,
        "metric": one.metric,
        "time": entry.row.time,
        "kind": one.kind,
        "value": None if isinstance(value, float) and not math.isfinite(value) else value,
        "unit": one.unit,
        "quality": one.quality,
    }


def identity_of(entry: Entry) -> str:
    """Return what no other reading is ever called, however often this one is sent."""
    return f"{entry.series.site}/{entry.series.node}/{entry.stream}/{entry.incarnation}/{entry.row.sequence}"
