"""What a birth says of a device's metrics, and readings made with it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from holdfast_edge.core.sparkplug import schema, values
from holdfast_edge.core.sparkplug.names import metric_id
from holdfast_edge.core.sparkplug.payload import MAX_METRICS, Metric, Payload, metrics_of, parameters_of, parsed
from holdfast_protocol.mapping.values import END_OF_TIME, Rejection, Unfit
from holdfast_protocol.wire.readings import Reading, Value

MAX_DEPTH: Final = 4  # templates in templates
MAX_HEAVY: Final = 128 * 1024  # bytes of sets of data, arrays and files in one message: each is read item by item
MAX_KEPT: Final = 128  # characters of a text kept as the last value
BD_SEQ: Final = "bdSeq"
PARAMETERS: Final = "parameters"  # what stands between a template's name and a parameter's
_CONTROLS: Final = ("Node Control/", "Device Control/")


class Known(msgspec.Struct):
    """A metric as its birth describes it, and its last value, None when there is none that could be repeated."""

    metric: str  # its name here; "": not a reading (bdSeq, the controls, definitions of templates)
    datatype: int
    unit: str
    quality: str = "good"
    value: Value | None = None
    time: int = 0
    stale: bool = False  # said to be uncertain since its device was lost
    is_part: bool = False  # of a template, and no metric of its own


class Table:
    """A device's metrics by the names and aliases of its last birth. Empty before the first."""

    def __init__(self, device: str) -> None:
        self.device = device  # its name here
        self.online = False
        self.due: float | None = None  # when it is no longer waited for after its edge node's birth, seconds since boot
        self.known: dict[str, Known] = {}
        self._aliases: dict[int, str] = {}

    def bear(self, payload: Payload, received: int, room: int) -> tuple[list[Reading], list[Rejection]]:
        """Begin anew by a birth; raises Unfit `TooMany` for more than `room` metrics, and is then as before."""
        old, old_aliases = self.known, self._aliases
        self.known, self._aliases = {}, {}
        try:
            return self._read(payload, received, room, old, trusted=True)
        except Unfit:
            self.known, self._aliases = old, old_aliases
            raise

    def read(self, payload: Payload, received: int, *, trusted: bool) -> tuple[list[Reading], list[Rejection]]:
        """Return readings of data. Not `trusted`: a birth may be missing, so that aliases may mean other metrics."""
        return self._read(payload, received, 0, None, trusted=trusted)

    def told(self, metric: str) -> tuple[str, int | None, Known]:
        """Return path, alias and description of a metric by its name here. Raises Unfit `UnknownMetric`, `PartOfTemplate`."""
        for path, known in self.known.items():
            if known.metric == metric and known.is_part:
                raise Unfit("PartOfTemplate", f"{metric[:80]!r} is a part of a template, which is told as a whole only")
            if known.metric == metric:
                aliases = (alias for alias, other in self._aliases.items() if other == path)
                return path, next(aliases, None), known
        raise Unfit("UnknownMetric", f"{metric[:80]!r} is in no birth")

    def stale(self, at: int) -> Iterator[Reading]:
        """Yield the last value of each metric, uncertain from `at` on, once."""
        for known in self.known.values():
            if known.metric and known.value is not None and known.quality == "good":
                known.stale, known.quality, known.time = True, "uncertain", max(at, known.time)
                yield Reading(self.device, known.metric, known.time, known.value, known.unit, known.quality)

    def _read(
        self, payload: Payload, received: int, room: int, old: dict[str, Known] | None, *, trusted: bool
    ) -> tuple[list[Reading], list[Rejection]]:
        readings: list[Reading] = []
        rejected = list(payload.rejected)
        time = payload.time if payload.time >= 0 else received
        budget, heavy = MAX_METRICS, 0
        aliases = self._aliases if trusted and old is None else {}
        for path, metric, failure in _flat(payload.metrics, "", aliases):
            budget -= 1
            if budget < 0:
                raise Unfit("TooMany", f"more than {MAX_METRICS} metrics with the members of templates")
            if failure is not None:
                rejected.append(failure)
                continue
            if metric.case in ("dataset_value", "bytes_value"):
                heavy += len(metric.raw)
            try:
                if heavy > MAX_HEAVY:
                    raise Unfit("TooLarge", f"beyond the {MAX_HEAVY} bytes that such values may have in one message")
                if old is not None:
                    if len(self.known) >= room:
                        raise Unfit("TooMany", f"no room for more than {room} metrics")
                    known = self._learn(path, metric, old)
                else:
                    known = self._find(path, metric, trusted=trusted)
                if reading := self._reading(known, metric, time, received, birth=old is not None):
                    readings.append(reading)
            except Unfit as unfit:
                if unfit.reason == "TooMany":
                    raise
                rejected.append(Rejection(unfit.reason, f"{metric.said}: {unfit}"))
        return readings, rejected

    def _learn(self, path: str, metric: Metric, old: dict[str, Known]) -> Known:
        if not path:
            raise Unfit("BadName", "a birth that names a metric by alias only")
        hidden = path == BD_SEQ or path.startswith(_CONTROLS) or metric.datatype == values.TEMPLATE
        known = Known("" if hidden else metric_id(path), metric.datatype, metric.unit or "", metric.quality or "good")
        known.is_part = path != metric.name
        before = old.get(path)
        if before is not None and before.datatype == known.datatype:
            known.value, known.time = before.value, before.time
            known.quality, known.stale = before.quality, before.stale
        if metric.alias >= 0:
            if metric.alias in self._aliases and self._aliases[metric.alias] != path:
                raise Unfit("BadAlias", f"alias {metric.alias} is another metric's")
            self._aliases[metric.alias] = path
        self.known[path] = known
        return known

    def _find(self, path: str, metric: Metric, *, trusted: bool) -> Known:
        if not path and not trusted:
            raise Unfit("OutOfSequence", "by alias, while a birth may be missing")
        known = self.known.get(path)
        if known is None:
            raise Unfit("UnknownMetric", "in no birth")
        if metric.datatype and metric.datatype != known.datatype:
            raise Unfit("BadValue", f"type {metric.datatype}, in the birth {known.datatype}")
        return known

    def _reading(self, known: Known, metric: Metric, time: int, received: int, *, birth: bool) -> Reading | None:
        if not known.metric:
            return None
        time = metric.time if metric.time >= 0 else time
        if time >= END_OF_TIME:
            raise Unfit("BadTime", f"{time} ms since 1970 is after the year 9999")
        known.unit = known.unit if metric.unit is None else metric.unit
        value = values.value_of(known.datatype, metric.case, metric.raw)
        quality = metric.quality or "good"
        if value is None:  # null: what it was, and that it is no longer so
            value, quality = known.value, "bad"
        if value is None or metric.transient:
            return None
        if birth and (value, time, quality) == (known.value, known.time, known.quality):
            return None  # said before: a birth repeats what has not changed
        if not metric.historical:
            time = max(time, known.time) if known.stale else time  # it holds again from now, however old the value
            known.stale = False
            known.value = value if type(value) is not str or len(value) <= MAX_KEPT else None
            known.time, known.quality = time, quality
        return Reading(self.device, known.metric, time, value, known.unit, quality)


_Flat = tuple[str, Metric, Rejection | None]


def _flat(metrics: Iterable[Metric], prefix: str, aliases: Mapping[int, str], depth: int = 0) -> Iterator[_Flat]:
    """Yield metrics with their names, each template followed by its parts as `template/member`."""
    for metric in metrics:
        path = prefix + metric.name if metric.name else aliases.get(metric.alias, "")
        yield path, metric, None
        if metric.case == "template_value":
            try:
                yield from _members(metric, path, depth)
            except Unfit as unfit:
                yield path, metric, Rejection(unfit.reason, f"{metric.said}: {unfit}")


def _members(metric: Metric, path: str, depth: int) -> Iterator[_Flat]:
    template = parsed(schema.Template, metric.raw)
    if template.is_definition or not path:
        return
    if depth == MAX_DEPTH:
        raise Unfit("TooDeep", f"templates nested more than {MAX_DEPTH} deep")
    if (count := len(template.metrics) + len(template.parameters)) > MAX_METRICS:
        raise Unfit("TooMany", f"{count} members and parameters, the limit is {MAX_METRICS}")
    members, rejected = metrics_of(template.metrics)
    parameters, others = parameters_of(template.parameters)
    for rejection in (*rejected, *others):
        yield path, metric, rejection
    yield from _flat(parameters, f"{path}/{PARAMETERS}/", {}, depth + 1)
    yield from _flat(members, f"{path}/", {}, depth + 1)
