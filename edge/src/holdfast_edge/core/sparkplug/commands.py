"""What a device is told: a metric of its birth, of the birth's type, by its alias where it has one.

The answer is the device's own word that the metric is what it shall be.
"""

import math
import struct
from typing import Any, Final

from holdfast_edge.core.sparkplug import schema, values
from holdfast_edge.core.sparkplug.names import Kind, Topic
from holdfast_edge.core.sparkplug.tables import Known
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.readings import MAX_TEXT

_SIGNED: Final = {values.INT8: 8, values.INT16: 16, values.INT32: 32, values.INT64: 64}
_UNSIGNED: Final = {values.UINT8: 8, values.UINT16: 16, values.UINT32: 32, values.UINT64: 64, values.DATETIME: 64}


def command(topic: Topic, path: str, alias: int | None, known: Known, data: Any, time: int) -> tuple[str, bytes]:
    """Return topic and payload that tell a device to have `data` at a metric. `time` in milliseconds since 1970.

    Raises Unfit `BadValue` for data that does not fit the metric's type.
    """
    metric = schema.Metric(timestamp=time, datatype=known.datatype)
    if alias is None:
        metric.name = path.encode()
    else:
        metric.alias = alias
    _set(metric, known.datatype, data)
    kind: Kind = "DCMD" if topic.device else "NCMD"
    payload = schema.Payload(timestamp=time, metrics=[metric.SerializeToString()])
    return str(Topic(topic.group, kind, topic.node, topic.device)), bytes(payload.SerializeToString())


def is_so(said: Any, wanted: Any) -> bool:
    """Return whether a value a device says is the one it was told to have, a float of 32 bits being what it can be."""
    if isinstance(said, bool) or isinstance(wanted, bool):
        return said is wanted
    if isinstance(said, int | float) and isinstance(wanted, int | float):
        return said == wanted or said == _narrowed(wanted)
    return type(said) is type(wanted) and bool(said == wanted)


def _set(metric: Any, datatype: int, data: Any) -> None:
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if (bits := _SIGNED.get(datatype) or _UNSIGNED.get(datatype)) is not None and type(data) is int:
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if datatype in _SIGNED else (0, (1 << bits) - 1)
        if least <= data <= most:
            if bits == 64:
                metric.long_value = data % (1 << 64)
            else:
                metric.int_value = data % (1 << 32)
            return
    elif datatype == values.FLOAT and is_number and (number := _narrowed(data)) is not None:
        metric.float_value = number
        return
    elif datatype == values.DOUBLE and is_number and abs(data) < 2**1023:
        metric.double_value = float(data)
        return
    elif datatype == values.BOOLEAN and isinstance(data, bool):
        metric.boolean_value = data
        return
    elif datatype in (values.STRING, values.TEXT, values.UUID) and isinstance(data, str) and len(data) <= MAX_TEXT:
        metric.string_value = data.encode("utf-8", "replace")
        return
    raise Unfit("BadValue", f"{str(data)[:80]!r} is no value of a metric of type {datatype}")


def _narrowed(number: int | float) -> float | None:
    """Return the nearest float of 32 bits, as it is shown here; None where there is none."""
    try:
        narrow = struct.unpack("<f", struct.pack("<f", number))[0]
    except (OverflowError, struct.error):
        return None
    return values.shortest(narrow) if math.isfinite(narrow) else None
