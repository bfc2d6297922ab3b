"""Readings as payloads that others read."""

import math
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from holdfast_protocol.bridging.rules import Form
from holdfast_protocol.wire.readings import Reading

_ENCODER: Final = msgspec.json.Encoder()
_MERGE: Final = "application/merge-patch+json"  # Ditto makes features that are not there yet


def payload_of(reading: Reading, form: Form, namespace: str) -> bytes:
    """Return the payload of a reading. `namespace` is the one of Ditto's things, and is for that form only.

    `reading`: all of it as one object, time in milliseconds since 1970. `value`: JSON of the value alone. `thin-edge`: a
    measurement. `ditto`: a command of the Ditto protocol that sets the property `value` of the feature.
    """
    value = _value(reading)
    match form:
        case "value":
            return _ENCODER.encode(value)
        case "thin-edge":
            return _ENCODER.encode({"time": _moment(reading.time), reading.metric: value})
        case "ditto":
            properties: dict[str, Any] = {"value": value, "time": _moment(reading.time)}
            if reading.unit:
                properties["unit"] = reading.unit
            if reading.quality != "good":
                properties["quality"] = reading.quality
            envelope = {
                "topic": f"{namespace}/{reading.device}/things/twin/commands/merge",
                "headers": {"response-required": False, "content-type": _MERGE},
                "path": f"/features/{reading.metric.replace('/', '.')}/properties",
                "value": properties,
            }
            return _ENCODER.encode(envelope)
    return _ENCODER.encode(
        {
            "device": reading.device,
            "metric": reading.metric,
            "time": reading.time,
            "value": value,
            **({"unit": reading.unit} if reading.unit else {}),
            **({"quality": reading.quality} if reading.quality != "good" else {}),
        }
    )


def _value(reading: Reading) -> Any:
    value = reading.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _moment(at: int) -> str:
    try:
        moment = datetime.fromtimestamp(at / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
