"""Presets: rules filled in. Nothing in one is more than what an author may write; a rule of the same name is laid over it."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from holdfast_protocol.kinds.shapes import invalid

Preset = Literal["", "generic", "unified-namespace", "thin-edge", "ditto", "sparkplug"]
Rules = dict[str, list[dict[str, Any]]]
READINGS: Final = "readings"

PRESETS: Final[Mapping[str, Rules]] = {
    "generic": {
        "out": [{"name": "devices", "topic": "devices/{rest#}", "to": "sites/{site}/devices/{rest}"}],
        "in": [{"name": "commands", "topic": "sites/{site}/commands/{rest#}", "to": "commands/{rest}"}],
    },
    "unified-namespace": {
        "out": [{"name": READINGS, "source": READINGS, "to": "{path}/{device}/{metric}", "retain": "set"}],
        "in": [],
    },
    "thin-edge": {
        "out": [
            {
                "name": READINGS,
                "source": READINGS,
                "to": "te/device/{device}///m/{metric}",
                "form": "thin-edge",
            }
        ],
        "in": [
            {"name": "commands", "topic": "te/device/{device}///cmd/{rest#}", "to": "te/device/{device}///cmd/{rest}"}
        ],
    },
    "ditto": {
        "out": [{"name": READINGS, "source": READINGS, "to": "ditto/{site}/{device}", "form": "ditto"}],
        "in": [{"name": "messages", "topic": "ditto/{site}/{device}/messages/{rest#}", "to": "ditto/{device}/{rest}"}],
    },
    "sparkplug": {"out": [{"name": READINGS, "source": READINGS}], "in": []},
}
VALUES: Final[Mapping[str, dict[str, str]]] = {
    "unified-namespace": {"path": "{site}"},
    "ditto": {"namespace": "holdfast"},
    "sparkplug": {"group": "holdfast", "edgeNode": "{site}.{node}"},
}


def filled(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec with its preset's rules and values where it says none of its own. Raises WireError InvalidSpec."""
    preset = spec.get("preset") or ""
    rules, values = PRESETS.get(preset), VALUES.get(preset, {})
    made = dict(spec)
    if rules is None:
        return made
    for way in ("out", "in"):
        written = spec.get(way) or []
        if not isinstance(written, list) or not all(isinstance(each, dict) for each in written):
            return made  # its shape says what is wrong
        made[way] = _laid(rules[way], written, f"spec.{way}")
    given = spec.get("values") or {}
    if isinstance(given, dict):
        made["values"] = {**values, **given}
    return made


def _laid(rules: list[dict[str, Any]], written: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Return the author's rules that are new, then the preset's with what the author says of them."""
    known = {each["name"] for each in rules}
    over: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(written):
        name = each.get("name")
        if not isinstance(name, str) or name not in known:
            continue
        if name in over:
            raise invalid(f"{path}[{number}].name: {name} is changed twice")
        over[name] = each
    new = [each for each in written if each.get("name") not in known]
    return new + [{**each, **over.get(each["name"], {})} for each in rules]
