"""A Bridge that the hub runs: an object of its own, checked as a site's, and kept from the fleet's own messages."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast_protocol.bridging.filters import overlaps
from holdfast_protocol.bridging.rules import text_of
from holdfast_protocol.errors import PermanentError, Problem, WireError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.shapes import invalid
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.topics import ROOT

FLEET: Final = f"{ROOT.partition('/')[0]}/#"  # targets, with what secrets are in them, and all that sites say
_PATH: Final = re.compile(r"spec((?:\.[\w-]+|\[\d+\])*): (.*)", re.DOTALL)
_FIELD: Final = re.compile(r" - at (?:key in )?`spec\.?([^`]*)`$")


def at_hub(spec: dict[str, Any], name: str, place: bridge.Place | None = None) -> bridge.Wanted:
    """Return what the spec wants of the hub. Raises as `bridge.wanted` does."""
    want = bridge.wanted(spec, name, place)
    if want.spec.run != "hub":
        raise invalid("spec.run: a Bridge of its own is run by the hub; a site's belongs in a blueprint", "run: hub")
    if want.spec.preset == "sparkplug":
        raise invalid("spec.preset: an edge node is a site's", "run it there")
    for route, pattern in [(each, each.filter) for each in want.out] + [(each, each.output) for each in want.into]:
        if want.spec.local is None and not route.of_readings and overlaps(pattern, FLEET):
            said = f"{text_of(route.at)}.topic: {pattern} is among the fleet's own topics too, {FLEET}"
            raise invalid(said, "narrower: plant/#")
    return want


def is_hubs(value: dict[str, Any]) -> bool:
    """Return whether a document is a Bridge that the hub runs itself; any other is a site's resource."""
    spec = value.get("spec")
    return value.get("kind") == bridge.KIND and isinstance(spec, dict) and spec.get("run") == "hub"


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a Bridge of the hub's, and what its author should know, paths from its spec."""
    try:
        want = at_hub(spec, bridge.KIND.lower())
    except (WireError, PermanentError) as error:
        problems = getattr(error, "problems", ()) or (Problem(error.message, hint=error.hint),)
        for each in problems:
            text = f"{each.path}: {each.message}" if each.path else each.message
            yield _placed(text, each.hint)
        return
    yield from (msgspec.structs.replace(each, path=each.path[1:]) for each in want.warnings)


def _placed(text: str, hint: str) -> Flaw:
    found = _PATH.match(text)
    if found is None:
        shaped_at = _FIELD.search(text)
        path = tuple(_steps(f".{shaped_at[1]}")) if shaped_at else ()
        return Flaw(path, _FIELD.sub("", text), hint)
    return Flaw(tuple(_steps(found[1])), found[2], hint)


def _steps(text: str) -> Iterator[str | int]:
    for name, number in re.findall(r"\.([\w-]+)|\[(\d+)\]", text):
        yield int(number) if number else name
