"""Rules of a bridge: which messages go over, and what their topics are on the other side.

`topic` is a filter whose levels may have names, as in rules of a DeviceSource: plant/{area}/{device}/{rest#}. `to` is the
topic there, with those names and the bridge's own values; without it, `strip` is taken from its beginning and `prefix` put
before. The first rule that fits takes a message.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid
from holdfast_protocol.mapping.patterns import Pattern, is_filter
from holdfast_protocol.wire.flaws import Path

MAX_RULES: Final = 100  # each way
MAX_TOPIC: Final = 65_535  # bytes
MAX_TEXT: Final = 512  # characters of a rule's texts
MAX_PAYLOAD: Final = 1024 * 1024  # bytes, as much as the site's broker takes
READINGS: Final = "{device}/{metric#}"
NONE: Final = "_"  # for a label that a site has not
_NAME: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_./-]{0,62})(#?)\}")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Source = Literal["broker", "readings"]
Retain = Literal["keep", "clear", "set"]
Form = Literal["reading", "value", "thin-edge", "ditto"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One way over. `source`: messages of the broker, or readings the site took (out only), by device/metric."""

    name: str = ""  # by which a preset's rule is changed
    source: Source = "broker"
    topic: str = ""
    to: str = ""
    strip: str = ""
    prefix: str = ""
    qos: int = 1
    retain: Retain = "keep"
    max_payload: int = MAX_PAYLOAD  # bytes
    form: Form = "reading"  # of a reading's payload
    off: bool = False  # a preset's rule that is not wanted


class Names(msgspec.Struct, frozen=True):
    """What templates may name besides the levels of a topic: `values` that stand fast, and may name site and node
    themselves; `each` what comes with a message."""

    values: Mapping[str, str] = {}
    each: frozenset[str] = frozenset()  # label.* stands for all that begin so

    def comes(self, name: str) -> bool:
        """Return whether a message brings this name with it."""
        return name in self.each or (name.startswith("label.") and "label.*" in self.each)

    def is_fast(self, text: str) -> bool:
        """Return whether a filled text has no names but of the place it will be at."""
        rest = _NAME.sub(lambda found: "" if found[1] in ("site", "node") and self.comes(found[1]) else "#", text)
        return not set(rest) & set("+#{}")

    def filled(self, text: str) -> str:
        """Return a template with what stands fast."""
        once = _NAME.sub(lambda found: self.values.get(found[1], found[0]), text)
        return _NAME.sub(lambda found: self.values.get(found[1], found[0]), once)


class Route:
    """A rule ready to use. `filter` is what to subscribe to, `output` a filter of all the topics it makes."""

    def __init__(self, rule: Rule, at: Path, names: Names) -> None:
        """Raises WireError InvalidSpec naming the place below `at`, where the rule stands."""
        self.rule, self.at = rule, at
        path = text_of(at)
        self.of_readings = rule.source == "readings"
        _check(rule, path)
        text = rule.topic or (READINGS if self.of_readings else "")
        if not text:
            raise invalid(f"{path}.topic: which messages?", "plant/# or plant/{area}/{device}")
        text = names.filled(text)
        self._names, self._to = names, names.filled(rule.to)
        self._strip, self._prefix = names.filled(rule.strip), names.filled(rule.prefix)
        self._pattern = Pattern(text, f"{path}.topic")
        self._tails = {found[1] for found in _NAME.finditer(text) if found[2]}
        self.filter = _plain(text)
        if not is_filter(self.filter):
            raise invalid(f"{path}.topic: {text[:80]!r} is no subscription filter")
        if rule.to:
            self.output = self._output(f"{path}.to")
        else:
            if not text.startswith(self._strip) or not names.is_fast(self._strip):
                raise invalid(f"{path}.strip: is not what every topic of {text[:80]!r} begins with")
            if not names.is_fast(self._prefix):
                raise invalid(f"{path}.prefix: is plain text; names of levels go into `to`")
            self.output = _plain(self._prefix + text[len(self._strip) :])
        if not is_filter(self.output):
            raise invalid(f"{path}.{'to' if rule.to else 'prefix'}: makes {self.output[:80]!r}, which is no topic")

    def topic(self, topic: str, about: Mapping[str, str] | None = None) -> str | None:
        """Return the topic on the other side, "" when there can be none, and None when the rule does not fit. `about`: the
        names that come with this message."""
        rule = self.rule
        levels = self._pattern.levels(topic)
        if levels is None or (topic.startswith("$") and self.filter[0] in "+#"):
            return None
        if rule.to:
            known = {**(about or {}), **levels}
            made = _NAME.sub(lambda found: known.get(found[1], NONE), self._to)
        else:
            made = self._prefix + topic[len(self._strip) :]
        return made if _is_topic(made) else ""

    def _output(self, path: str) -> str:
        """Return the filter of what `to` makes."""
        template, names = self._to, self._names
        for found in _NAME.finditer(template):
            if found[1] not in self._pattern.names and not names.comes(found[1]):
                said = ", ".join(sorted({*self._pattern.names, *names.values, *names.each})) or "none"
                raise invalid(f"{path}: {{{found[1]}}} is none of the names there are: {said}", "name a level: {area}")
        if set(_NAME.sub("", template)) & set("{}+#"):
            raise invalid(f"{path}: is a topic, with names in braces for what differs", "factory/{area}/{device}")
        levels = []
        for level in template.split("/"):
            named = {found[1] for found in _NAME.finditer(level)}
            if named & self._tails:
                levels.append("#")
                break
            levels.append("+" if named else level)
        return "/".join(levels)


def chosen(routes: Sequence[Route], topic: str, about: Mapping[str, str] | None = None) -> tuple[Route, str] | None:
    """Return the first route that fits a topic, and the topic there ("": there can be none)."""
    for route in routes:
        made = route.topic(topic, about)
        if made is not None:
            return route, made
    return None


def filters_of(routes: Sequence[Route]) -> dict[str, int]:
    """Return what to subscribe to for these, with the QoS of each."""
    found: dict[str, int] = {}
    for route in routes:
        if not route.of_readings:
            found[route.filter] = max(found.get(route.filter, 0), route.rule.qos)
    return found


def text_of(path: Path) -> str:
    """Return a path as people write it: spec.out[0].topic."""
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)[1:]


def _check(rule: Rule, path: str) -> None:
    for field in ("topic", "to", "strip", "prefix"):
        text = getattr(rule, field)
        if len(text) > MAX_TEXT or "\0" in text:
            raise invalid(f"{path}.{field}: has at most {MAX_TEXT} characters")
    if rule.name and not _LABEL.fullmatch(rule.name):
        raise invalid(f"{path}.name: lower-case letters, digits and inner hyphens, at most 63")
    if rule.to and (rule.strip or rule.prefix):
        raise invalid(f"{path}.to: or strip and prefix, not both")
    if rule.qos not in (0, 1):
        raise invalid(f"{path}.qos: is 0 or 1: what arrives twice is known here by its identifier", "qos: 1")
    if not 1 <= rule.max_payload <= MAX_PAYLOAD:
        raise invalid(f"{path}.maxPayload: must be 1 to {MAX_PAYLOAD} bytes")


def _plain(text: str) -> str:
    """Return the filter of a pattern: names become wildcards."""
    return "/".join(
        ("#" if found[2] and found[0] == level else "+") if (found := _NAME.search(level)) else level
        for level in text.split("/")
    )


def _is_topic(text: str) -> bool:
    return 0 < len(text.encode("utf-8", "replace")) <= MAX_TOPIC and not set(text) & {"+", "#", "\0"}
