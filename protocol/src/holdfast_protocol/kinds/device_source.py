"""A DeviceSource's spec, checked: where a site takes device data from, and what it becomes.

Exactly one of the sections of TYPES says how. A new type is a Struct of `kinds.inputs`, a field here and an entry there.
"""

from typing import Any, Final

import msgspec

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.errors import InputError
from holdfast_protocol.kinds.inputs import TYPES, Amqp, Http, Material, Mqtt, Sparkplug
from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.mapping.compiled import Map, Mapper
from holdfast_protocol.mapping.convention import plain, prefixes
from holdfast_protocol.mapping.formats import MAX_COLUMNS, Csv, Format, Reader, is_content_type
from holdfast_protocol.mapping.pushed import pushed
from holdfast_protocol.mapping.rules import Rule

MAX_RATE: Final = 1_000_000


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What one device may send, and of which time. Beyond it a message is rejected and counted."""

    per_device: float = 0.0  # readings a second; 0: no limit
    burst: int = 0  # readings at once; 0: ten seconds' worth
    ahead: str = "1d"  # of the node's clock, where that is right; "": any
    age: str = ""  # 30d; "": any


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written. Without `rules` topics are {device}/{metric} or {device} below the subscription's own levels."""

    mqtt: Mqtt | None = None
    http: Http | None = None
    sparkplug: Sparkplug | None = None
    amqp: Amqp | None = None
    format: Format = "json"
    csv: Csv | None = None
    content_type: str = ""  # of raw payloads
    rules: tuple[Rule, ...] = ()
    limits: Limits = Limits()


class Bounds(msgspec.Struct, frozen=True):
    """`ahead` and `age` in milliseconds, 0: any; `rate` in readings a second, 0: any."""

    rate: float = 0.0
    burst: float = 0.0
    ahead: int = 0
    age: int = 0


class Wanted(msgspec.Struct, frozen=True):
    type: str
    section: Any  # of that type
    reader: Reader
    rules: tuple[Rule, ...]
    bounds: Bounds
    materials: dict[str, Material]  # what stands elsewhere, by its place below the section: tls.ca, password

    def map(self) -> Map:
        """Return what makes readings of a message, the rules compiled. Raises as they do."""
        if self.rules:
            return Mapper(self.rules, self.reader).map
        if topics := getattr(self.section, "topics", ()):
            return plain(topics)
        return lambda _, payload, received: pushed(payload, received, self.reader)


def wanted(spec: dict[str, Any], name: str) -> Wanted:
    """Return what the spec wants, its rules compiled once. Raises WireError InvalidSpec, UnsupportedError `NoExpressions`
    where a rule needs them and this machine has none."""
    given = shaped(spec, Spec)
    found = [each for each in TYPES if getattr(given, each) is not None]
    if len(found) != 1:
        raise invalid(f"spec: needs exactly one of {', '.join(TYPES)}")
    kind = TYPES[found[0]]
    section = getattr(given, found[0])
    kind.judge(section, f"spec.{found[0]}", name)
    if not kind.is_mapped and (given.rules or given.format != "json" or given.csv or given.content_type):
        raise invalid(f"spec.rules: and format are not for {found[0]}, whose messages say what they are")
    want = Wanted(found[0], section, _reader(given), given.rules, _bounds(given.limits), kind.materials(section))
    if given.rules:
        want.map()
    elif given.format != "json":
        raise invalid("spec.rules: are needed for any format but json", "match: plant/{device}/{metric}")
    elif "topics" in type(section).__struct_fields__:
        try:
            prefixes(section.topics)
        except InputError as error:
            raise invalid(f"spec.{found[0]}.topics: {error.problems[0].message}", "devices/#, or say rules") from None
    return want


def _reader(given: Spec) -> Reader:
    if given.csv is not None:
        if given.format != "csv":
            raise invalid("spec.csv: is for format csv")
        if len(given.csv.separator) != 1 or not given.csv.separator.isascii() or given.csv.separator in '"\r\n\0':
            raise invalid("spec.csv.separator: must be one character")
        columns = given.csv.columns
        if len(columns) > MAX_COLUMNS or len(set(columns)) != len(columns) or "" in columns:
            raise invalid(f"spec.csv.columns: at most {MAX_COLUMNS} different names")
    if given.content_type and (given.format != "raw" or not is_content_type(given.content_type)):
        raise invalid("spec.contentType: is for format raw: image/png")
    return Reader(given.format, given.csv or Csv(), given.content_type or "application/octet-stream")


def _bounds(limits: Limits) -> Bounds:
    if not 0 <= limits.per_device <= MAX_RATE or not 0 <= limits.burst <= MAX_RATE:
        raise invalid(f"spec.limits.perDevice: and burst are 0 to {MAX_RATE}")
    if limits.burst and not limits.per_device:
        raise invalid("spec.limits.burst: says how much more than perDevice, which is not said")
    ahead = seconds(limits.ahead, "spec.limits.ahead") * 1000 if limits.ahead else 0
    age = seconds(limits.age, "spec.limits.age") * 1000 if limits.age else 0
    return Bounds(limits.per_device, limits.burst or max(10 * limits.per_device, 1.0), ahead, age)
