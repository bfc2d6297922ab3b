"""Rules compiled: one message in, its readings or its rejection out. What a topic says is worked out once and kept."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.errors import WireError
from holdfast_protocol.mapping.formats import MAX_RAW, Reader, decoded
from holdfast_protocol.mapping.patterns import Pattern
from holdfast_protocol.mapping.rules import MAX_RULES, Range, Rule, Rules
from holdfast_protocol.mapping.shape import Shaping, shaping
from holdfast_protocol.mapping.templates import Names, Scope, Template, template
from holdfast_protocol.mapping.values import (
    MAX_TEXT,
    QUALITIES,
    Rejection,
    Unfit,
    milliseconds,
    named,
    quality_of,
    unit_of,
    value_of,
)
from holdfast_protocol.wire.readings import Reading, Value

MAX_READINGS: Final = 2_000  # of one message
TOPICS: Final = 8_192  # remembered, with the rules that may take them
_TEXT: Final = MAX_RAW * 4 // 3 + 96  # characters: raw bytes in base64 behind their content type
_NUMBER: Final = re.compile(r"\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?\s*", re.ASCII)
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False, "1": True, "0": False, "on": True, "off": False}


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What a rule made of a message; `rule` is its index."""

    rule: int
    readings: list[Reading]
    stream: str = "p3"
    ttl: int = 0  # seconds its readings are worth sending, 0: for ever
    shaping: Shaping | None = None


Map = Callable[[str, bytes, int], Taken | Rejection]  # topic, payload, when it was received in milliseconds since 1970


class Mapper:
    """Used from one thread: it remembers topics."""

    def __init__(self, rules: Rules, reader: Reader, path: str = "spec.rules") -> None:
        """Raises WireError InvalidSpec naming the field, UnsupportedError `NoExpressions`."""
        if not 0 < len(rules) <= MAX_RULES:
            raise WireError(f"{path}: must hold 1 to {MAX_RULES}", reason="InvalidSpec")
        self._reader = reader
        self._rules = tuple(_Compiled(rule, n, reader, f"{path}[{n}]") for n, rule in enumerate(rules))
        self._topics: dict[str, tuple[_Bound, ...]] = {}
        self.needs_expressions = any(each.is_cel for rule in self._rules for each in rule.templates)

    def map(self, topic: str, payload: bytes, received: int) -> Taken | Rejection:
        """Return the readings of one message; `received` is in milliseconds since 1970."""
        try:
            bound = self._topics.get(topic)
            if bound is None:
                bound = self._bind(topic)
            if not bound:
                raise Unfit("NoRule", "no rule matches the topic")
            if bound[0].rule.drop and not bound[0].rule.when:
                return Taken(bound[0].rule.index, [])
            return self._taken(bound, decoded(payload, self._reader), received)
        except Unfit as unfit:
            return unfit.rejection()

    def _bind(self, topic: str) -> tuple["_Bound", ...]:
        found = []
        for rule in self._rules:
            levels = rule.pattern.levels(topic)
            if levels is not None:
                found.append(_Bound(rule, levels))
                if rule.when is None:
                    break  # the rules after it never see this topic
        if len(self._topics) >= TOPICS:
            self._topics.clear()
        self._topics[topic] = tuple(found)
        return self._topics[topic]

    def _taken(self, bound: tuple["_Bound", ...], content: Any, received: int) -> Taken:
        lines = content if self._reader.is_listed else (content,)
        readings: list[Reading] = []
        taker: _Compiled | None = None
        for line in lines:
            scope: dict[str, Any] = {"topic": None, "payload": line, "received": received}
            each = next((each for each in bound if each.takes(scope)), None)
            if each is None:
                raise Unfit("NoRule", "no rule takes this message")
            if taker is not None and each.rule is not taker:
                raise Unfit("MixedRules", "the lines of one message are taken by different rules")
            taker = each.rule
            each.add(scope, received, readings)
            if len(readings) > MAX_READINGS:
                raise Unfit("TooMany", f"more than {MAX_READINGS} readings of one message")
        assert taker is not None  # no format gives an empty list
        if not readings and not taker.drop:
            raise Unfit("NoValue", "no value in the message", f"{taker.place}.value")
        return Taken(taker.index, readings, taker.stream, taker.ttl, taker.shaping)


class _Compiled:
    """A rule: templates instead of texts."""

    def __init__(self, rule: Rule, index: int, reader: Reader, place: str) -> None:
        self.index = index
        self.place = place
        self.drop = rule.drop
        self.stream = rule.class_
        self.pattern = Pattern(rule.match, f"{place}.match")
        outer = Names(self.pattern.names, items=False, lines=reader.is_listed)
        inner = Names(self.pattern.names, items=bool(rule.each), lines=reader.is_listed)
        self.when = template(rule.when, outer, f"{place}.when") if rule.when else None
        self.each = template(rule.each, outer, f"{place}.each") if rule.each else None
        self.ttl = seconds(rule.ttl, f"{place}.ttl") if rule.ttl else 0
        self.shaping: Shaping | None = None
        self.templates = [each for each in (self.when, self.each) if each is not None]
        if self.when is not None and self.when.kind not in ("bool", "dyn"):
            raise _invalid(self.when.place, f"is {self.when.kind}, and a condition is true or false")
        if self.each is not None and not self.each.kind.startswith(("list(", "map(", "dyn")):
            raise _invalid(self.each.place, f"is {self.each.kind}, and items are those of a list or map")
        if rule.drop:
            return

        def text(field: str) -> Template:
            found = template(getattr(rule, field), inner, f"{place}.{field}")
            if found.kind not in ("string", "dyn", "optional_type(dyn)", "optional_type(string)"):
                raise _invalid(found.place, f"is {found.kind}, and this takes text", "string(…)")
            self.templates.append(found)
            return found

        self.device, self.metric = text("device"), text("metric")
        self.value = template(rule.value, inner, f"{place}.value")
        self.unit, self.quality = text("unit"), text("quality")
        self.time = template(rule.time, inner, f"{place}.time") if rule.time else None
        self.templates += [self.value, *([self.time] if self.time else ())]
        self.time_unit = rule.time_unit
        self.type = rule.type
        self.scale, self.offset = rule.scale, rule.offset
        if not (math.isfinite(rule.scale) and math.isfinite(rule.offset)) or rule.scale == 0:
            raise _invalid(f"{place}.scale", "scale and offset must be numbers, and scale not 0")
        self.is_scaled = (rule.scale, rule.offset) != (1.0, 0.0)
        self.range = _range(rule.range, f"{place}.range")
        self.longest = _TEXT if reader.format == "raw" else MAX_TEXT
        self.is_plain = not self.type and not self.is_scaled and self.range is None
        self._check_literals()
        self.shaping = shaping(rule.shape, f"{place}.shape")
        if self.shaping is not None and self.stream != "p3":
            raise _invalid(f"{place}.shape", "only telemetry (class p3) is shaped")

    def _check_literals(self) -> None:
        for field, check in (("device", _device), ("metric", _metric), ("unit", unit_of), ("quality", _quality)):
            found: Template = getattr(self, field)
            if not found.roots and (found.source or field in ("device", "metric")):
                try:
                    check(found.fill({}))
                except Unfit as unfit:
                    raise _invalid(found.place, str(unfit)) from None

    def converted(self, metric: str, value: Any, quality: str) -> tuple[Value, str]:
        """Return a value as its type, scaled, and the quality its range leaves it."""
        value = _typed(metric, value, self.type)
        if self.is_scaled:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unfit("BadValue", f"{metric}: only numbers are scaled", f"{self.place}.scale")
            value = value * self.scale + self.offset
        if self.range is not None and isinstance(value, int | float) and not isinstance(value, bool):
            low, high = self.range.min, self.range.max
            if (low is not None and value < low) or (high is not None and value > high):
                if self.range.outside == "reject":
                    raise Unfit("OutOfRange", f"{metric}: {value} is out of range", f"{self.place}.range")
                quality = max(quality, self.range.outside, key=QUALITIES.index)
        return value_of(metric, value, longest=self.longest), quality


class _Bound:
    """A rule for one topic: what the topic alone says is filled in."""

    __slots__ = ("_device", "_levels", "_metric", "_quality", "_unit", "rule")

    def __init__(self, rule: _Compiled, levels: dict[str, str]) -> None:
        self.rule = rule
        self._levels = levels
        self._device = self._metric = self._unit = self._quality = None
        if rule.drop:
            return
        scope: Scope = {"topic": levels}
        only = frozenset({"topic"})
        if rule.device.roots <= only:
            self._device = _placed(rule.device, _device, scope)
        if rule.metric.roots <= only:
            self._metric = _placed(rule.metric, _metric, scope)
        if rule.unit.roots <= only:
            self._unit = _placed(rule.unit, unit_of, scope)
        if rule.quality.roots <= only:
            self._quality = _placed(rule.quality, _quality, scope)

    def takes(self, scope: dict[str, Any]) -> bool:
        scope["topic"] = self._levels
        when = self.rule.when
        if when is None:
            return True
        try:
            answer = when.fill(scope)
        except Unfit as unfit:
            if unfit.reason == "NoValue":  # it asks for something that this message has not
                return False
            raise
        if not isinstance(answer, bool):
            raise Unfit("BadCondition", f"{type(answer).__name__} is neither true nor false", when.place)
        return answer

    def add(self, scope: dict[str, Any], received: int, readings: list[Reading]) -> None:
        rule = self.rule
        if rule.drop:
            return
        if rule.each is None:
            self._add(scope, received, readings)
            return
        items = rule.each.fill(scope)
        if not isinstance(items, list | dict):
            raise Unfit("BadValue", f"a {type(items).__name__} has no items", rule.each.place)
        if len(items) > MAX_READINGS:
            raise Unfit("TooMany", f"{len(items)} items, the limit is {MAX_READINGS}", rule.each.place)
        for key, item in items.items() if isinstance(items, dict) else enumerate(items):
            scope["item"], scope["key"] = item, key
            self._add(scope, received, readings)

    def _add(self, scope: Scope, received: int, readings: list[Reading]) -> None:
        rule = self.rule
        value = rule.value.fill(scope)
        if value is None:
            return  # the device has nothing to say of this one now
        device = self._device or _placed(rule.device, _device, scope)
        metric = self._metric or _placed(rule.metric, _metric, scope)
        unit = self._unit if self._unit is not None else _placed(rule.unit, unit_of, scope)
        quality = self._quality or _placed(rule.quality, _quality, scope)
        time = received
        try:
            if rule.time is not None:
                time = milliseconds(_seen(rule.time.fill(scope)), received, rule.time_unit)
            if rule.is_plain:
                value = value_of(metric, value, longest=rule.longest)
            else:
                value, quality = rule.converted(metric, value, quality)
        except Unfit as unfit:
            field = rule.time if unfit.reason == "BadTime" and rule.time is not None else rule.value
            unfit.place = unfit.place or field.place
            raise
        readings.append(Reading(device, metric, time, value, unit, quality))


def _placed(field: Template, check: Any, scope: Scope) -> str:
    try:
        return str(check(field.fill(scope)))
    except Unfit as unfit:
        unfit.place = field.place
        raise


def _device(text: Any) -> str:
    return named("device", text)


def _metric(text: Any) -> str:
    return named("metric", text)


def _quality(text: Any) -> str:
    return quality_of(text or None)


def _seen(time: Any) -> Any:
    """Return a time: digits in a text, as CSV has them, are a number."""
    return float(time) if isinstance(time, str) and _NUMBER.fullmatch(time) and len(time) < 40 else time


def _typed(metric: str, value: Any, kind: str) -> Any:
    match kind, value:
        case "number" | "integer", str() if len(value) <= 80 and _NUMBER.fullmatch(value):
            value = float(value) if kind == "number" or not value.strip().lstrip("+-").isdigit() else int(value)
        case "boolean", str() if value.strip().lower() in _BOOLEANS:
            return _BOOLEANS[value.strip().lower()]
        case "boolean", int() if value in (0, 1):
            return bool(value)
        case "text", bool():
            return "true" if value else "false"
        case "text", int() | float():
            return str(value)
    match kind, value:
        case ("", _) | ("text", str()) | ("boolean", bool()):
            return value
        case "number", bool() | int() | float():
            return float(value)
        case "integer", bool() | int():
            return int(value)
        case "integer", float() if value.is_integer():
            return int(value)
    raise Unfit("WrongType", f"{metric}: {str(value)[:40]!r} is no {kind}")


def _range(given: Range | None, place: str) -> Range | None:
    if given is not None:
        bounds = [each for each in (given.min, given.max) if each is not None]
        if not bounds or not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise _invalid(place, "needs min, max or both, and min not above max")
    return given


def _invalid(place: str, message: str, hint: str = "") -> WireError:
    return WireError(f"{place}: {message}", reason="InvalidSpec", hint=hint)
