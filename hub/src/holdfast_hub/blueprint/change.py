"""What changed between two versions of a blueprint's schema, and which of it breaks instances that are out there.

Changes are named and placed as kro does. It fails closed where kro does not look: values of maps, an enum on a field that
had none, rules, list types and objects that were open are breaking when they take something away.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint.constraints import LIST_KEYS, LIST_TYPE, RULES
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.schema import OPEN, Schema

_BOUNDS: Final = {  # marker: its name in changes, and whether more of it is stricter
    "minimum": ("MINIMUM", True),
    "maximum": ("MAXIMUM", False),
    "minLength": ("MIN_LENGTH", True),
    "maxLength": ("MAX_LENGTH", False),
    "minItems": ("MIN_ITEMS", True),
    "maxItems": ("MAX_ITEMS", False),
}
_TEXTS: Final = {
    "PROPERTY_REMOVED": "the field is gone",
    "PROPERTY_ADDED": "the field is new, required and has no default",
    "TYPE_CHANGED": "the type was {old} and is {new}",
    "REQUIRED_ADDED": "{new} is required now",
    "REQUIRED_DEFAULT_REMOVED": "{old} is required and has lost its default",
    "ENUM_RESTRICTED": "{old} is no longer allowed",
    "ENUM_ADDED": "any value was allowed, and now only {new}",
    "PATTERN_ADDED": "it must match {new} now",
    "PATTERN_CHANGED": "it must match {new}, and not {old} any more",
    "RULE_ADDED": "there is a new rule: {new}",
    "LIST_TYPE_CHANGED": "the list type was {old} and is {new}",
    "OBJECT_CLOSED": "any field was allowed inside, and now fewer are",
    "IDENTITY_CHANGED": "it was {old} and is {new}",
}


class SchemaChange(msgspec.Struct, frozen=True):
    """One difference. `path` is in the OpenAPI schema (.properties.a.items), `field` in the blueprint's own schema."""

    path: str
    change: str
    breaking: bool
    field: Path
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        text = _TEXTS.get(self.change)
        if text is not None:
            return text.format(old=self.old[:200] or "none", new=self.new[:200] or "none")
        what, _, how = self.change.lower().rpartition("_")
        name = what.replace("_", " ")
        return f"{name} {self.new} is new" if how == "added" else f"{name} was {self.old} and is {self.new or 'gone'}"


def definition_changes(old: Definition, new: Definition) -> list[SchemaChange]:
    """Return what differs in what two revisions of one blueprint promise to instances; `field` is below spec.schema."""
    found = [
        SchemaChange(f".{name}", "IDENTITY_CHANGED", True, (name,), before, after)
        for name, before, after in (
            ("kind", old.kind, new.kind),
            ("apiVersion", old.version, new.version),
            ("group", old.group, new.group),
            ("scope", old.scope, new.scope),
        )
        if before != after
    ]
    changes = schema_changes(old.schema, new.schema)
    return found + [msgspec.structs.replace(each, field=("spec", *each.field)) for each in changes]


def schema_changes(old: Schema, new: Schema) -> list[SchemaChange]:
    """Return every difference between two schemas made by `schema.open_api`, breaking ones first."""
    return sorted(_Comparing("", ()).compare(old, new), key=lambda each: not each.breaking)


class _Comparing:
    """Compares at one place; kept small by making a new one below."""

    def __init__(self, path: str, field: Path) -> None:
        self._path = path
        self._field = field

    def compare(self, old: Schema, new: Schema) -> Iterator[SchemaChange]:
        if old.get("description", "") != new.get("description", ""):
            before, after = old.get("description", ""), new.get("description", "")
            yield self._change("description", "DESCRIPTION_CHANGED", False, before, after)
        if _default(old) != _default(new):
            yield self._change("default", "DEFAULT_CHANGED", False, _default(old), _default(new))
        if old.get("type") != new.get("type"):
            yield self._change("type", "TYPE_CHANGED", True, old.get("type", ""), new.get("type", ""))
            return
        yield from self._pattern(old.get("pattern", ""), new.get("pattern", ""))
        yield from self._bounds(old, new)
        yield from self._properties(old, new)
        yield from self._required(old, new)
        yield from self._enum(old.get("enum"), new.get("enum"))
        if "items" in old and "items" in new:
            yield from _Comparing(f"{self._path}.items", self._field).compare(old["items"], new["items"])
        yield from self._unseen(old, new)

    def _pattern(self, old: str, new: str) -> Iterator[SchemaChange]:
        if old != new:
            name = "PATTERN_ADDED" if not old else "PATTERN_CHANGED" if new else "PATTERN_REMOVED"
            yield self._change("pattern", name, bool(new), old, new)

    def _bounds(self, old: Schema, new: Schema) -> Iterator[SchemaChange]:
        for key, (name, more_is_stricter) in _BOUNDS.items():
            before, after = old.get(key), new.get(key)
            if before == after:
                continue
            if before is None:
                yield self._change(key, f"{name}_ADDED", True, "", after)
            elif after is None:
                yield self._change(key, f"{name}_REMOVED", False, before, "")
            else:
                more = after > before
                how = "INCREASED" if more else "DECREASED"
                yield self._change(key, f"{name}_{how}", more is more_is_stricter, before, after)

    def _properties(self, old: Schema, new: Schema) -> Iterator[SchemaChange]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for key, inside in before.items():
            path, field = f"{self._path}.properties.{key}", (*self._field, key)
            if key in after:
                yield from _Comparing(path, field).compare(inside, after[key])
            else:
                yield SchemaChange(path, "PROPERTY_REMOVED", True, field)
        for key, inside in after.items():
            if key not in before:
                demanded = key in new.get("required", ()) and "default" not in inside
                said = ("required=false", "required=true") if demanded else ("", "")
                path = f"{self._path}.properties.{key}"
                yield SchemaChange(path, "PROPERTY_ADDED", demanded, (*self._field, key), *said)

    def _required(self, old: Schema, new: Schema) -> Iterator[SchemaChange]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was, now = set(old.get("required", ())), set(new.get("required", ()))
        for key in sorted(now & before.keys()):
            if key not in was:
                yield self._change("required", "REQUIRED_ADDED", True, "", key)
            elif "default" in before[key] and "default" not in after[key]:
                yield self._change("required", "REQUIRED_DEFAULT_REMOVED", True, key, "")
        for key in sorted(was - now):
            yield self._change("required", "REQUIRED_REMOVED", False, key, "")

    def _enum(self, old: list[Any] | None, new: list[Any] | None) -> Iterator[SchemaChange]:
        if old is None and new is not None:
            yield self._change("enum", "ENUM_ADDED", True, "", ", ".join(map(str, new)))
        elif old is not None and new is not None:
            for each in old:
                if each not in new:
                    yield self._change("enum", "ENUM_RESTRICTED", True, each, "")
            for each in new:
                if each not in old:
                    yield self._change("enum", "ENUM_EXPANDED", False, "", each)

    def _unseen(self, old: Schema, new: Schema) -> Iterator[SchemaChange]:
        """What kro does not look at, as far as it takes something away."""
        known = [rule["rule"] for rule in old.get(RULES, ())]
        for rule in new.get(RULES, ()):
            if rule["rule"] not in known:
                yield self._change(RULES, "RULE_ADDED", True, "", rule["rule"])
        was, now = _list_type(old), _list_type(new)
        if was != now and now:
            yield self._change(LIST_TYPE, "LIST_TYPE_CHANGED", True, was, now)
        if old.get("type") != "object" or new.get(OPEN):
            return
        if old.get(OPEN) or ("additionalProperties" in old and "additionalProperties" not in new):
            yield self._change("properties", "OBJECT_CLOSED", True, "", "")
        elif "additionalProperties" in old:
            inside = _Comparing(f"{self._path}.additionalProperties", self._field)
            values = inside.compare(old["additionalProperties"], new["additionalProperties"])
            yield from (each for each in values if each.breaking)

    def _change(self, key: str, change: str, breaking: bool, old: Any, new: Any) -> SchemaChange:
        return SchemaChange(f"{self._path}.{key}", change, breaking, self._field, str(old), str(new))


def _default(schema: Schema) -> str:
    return msgspec.json.encode(schema["default"], order="sorted").decode() if "default" in schema else ""


def _list_type(schema: Schema) -> str:
    """Return a list's type with its keys; empty for a plain one."""
    kind = schema.get(LIST_TYPE, "atomic")
    return "" if kind == "atomic" else " ".join([kind, *schema.get(LIST_KEYS, ())])
