"""What samples become by the rules in a file, with no device and no broker: `ingest test` of hub and site. Pure."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.kinds import table
from holdfast_protocol.kinds.device_source import Wanted, wanted
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.wire.readings import Reading

MAX_SAMPLES: Final = 10_000
_STEP: Final = re.compile(r"\.?([A-Za-z]+)|\[(\d+)\]")


class Tried(msgspec.Struct, frozen=True):
    """One sample: its readings and the rule that made them, or why there are none, with the place in the rules file."""

    line: int  # of the sample, from 1; of a whole file 1
    topic: str
    readings: list[Reading] = []
    rule: int | None = None
    stream: str = ""
    reason: str = ""
    message: str = ""
    path: str = ""
    place: str = ""  # FILE:LINE:COLUMN

    @property
    def is_rejected(self) -> bool:
        return bool(self.reason)


def tried(rules: str, file: str, sample: bytes, received: int, topic: str = "") -> list[Tried]:
    """Return what becomes of each line `TOPIC PAYLOAD` of a sample, as `mosquitto_sub -v` prints them; or with `topic`, of
    the sample as one payload. `rules` is the text of a DeviceSource. Raises InputError with every problem in it.
    """
    document, want = _source(rules, file)
    map_ = want.map()
    found = []
    for line, name, payload in _samples(sample, topic):
        made = map_(name, payload, received)
        if isinstance(made, Rejection):
            place = ""
            if made.place:
                place = ":".join(str(each) for each in (file, *document.place(_path(made.place))))
            found.append(Tried(line, name, [], None, "", made.reason, made.message, made.place, place))
        else:
            found.append(Tried(line, name, made.readings, made.rule if want.rules else None, made.stream))
    return found


def shown(each: Tried) -> str:
    """Return one sample's lines for people: nothing a stranger sent reaches a terminal unescaped."""
    head = f"{each.line}: {each.topic}"
    by = "" if each.rule is None else f" by rules[{each.rule}]"
    if each.is_rejected:
        where = f" ({each.place} {each.path})" if each.place else ""
        lines = [f"   rejected {each.reason}: {each.message}{where}"]
    elif not each.readings:
        lines = [f"   dropped{by}"]
    else:
        lines = [
            f"   {one.device} {one.metric} = {json.dumps(one.value, ensure_ascii=False)} {one.unit}".rstrip()
            + f" at {_moment(one.time)} {one.quality} {each.stream}{by}"
            for one in each.readings
        ]
    text = "\n".join([head, *lines])
    return "".join(sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}" for sign in text)


def _moment(milliseconds: int) -> str:
    """Return a time as RFC 3339 in UTC; as it is when no calendar has it."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return str(milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _source(rules: str, file: str) -> tuple[Any, Wanted]:
    from holdfast_protocol.blueprint.documents import read_documents

    documents = [each for each in read_documents(rules, file) if each.kind == "DeviceSource"]
    if len(documents) != 1:
        said = f"{len(documents)} documents of kind DeviceSource, one is needed"
        raise InputError([Problem(said, file=file, hint="apiVersion: holdfast.io/v1alpha1, kind: DeviceSource")])
    document = documents[0]
    if not document.name:
        raise InputError([document.problem(("metadata",), "metadata.name is missing")])
    if flaws := table.KINDS["DeviceSource"].check(document.value):
        raise InputError([document.problem(each.path, each.message, hint=each.hint) for each in flaws])
    return document, wanted(document.value.get("spec") or {}, document.name)


def _samples(sample: bytes, topic: str) -> Iterator[tuple[int, str, bytes]]:
    if topic:
        yield 1, topic, sample
        return
    lines = sample.split(b"\n")
    if len(lines) > MAX_SAMPLES:
        raise InputError([Problem(f"{len(lines)} lines, the limit is {MAX_SAMPLES}")])
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, _, payload = line.rstrip(b"\r").partition(b" ")
            yield number, name.decode("utf-8", "replace"), payload


def _path(text: str) -> tuple[str | int, ...]:
    return tuple(int(number) if number else name for name, number in _STEP.findall(text))
