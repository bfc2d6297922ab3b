"""Schemas as protobuf message types: what lets the CEL checker find a misspelt field before anything runs.

string, integer, float, boolean, lists, maps and nested objects keep their types; `object` is a map of anything; a list
or map directly inside a list or map is one of anything. Fields whose name is no identifier cannot be selected in CEL
and are left out.
"""

import re
from functools import cache
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import Message

from holdfast_protocol.blueprint.schema import OPEN, Schema

PACKAGE: Final = "blueprint"
_WELL_KNOWN: Final = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_F: Final = descriptor_pb2.FieldDescriptorProto
_ATOMS: Final = {
    "string": _F.TYPE_STRING,
    "integer": _F.TYPE_INT64,
    "number": _F.TYPE_DOUBLE,
    "boolean": _F.TYPE_BOOL,
}
VALUES: Final = {  # values with a type of their own: the name used here, and CEL's
    "quantity": "kubernetes.Quantity",
    "url": "kubernetes.URL",
    "semver": "kubernetes.Semver",
    "ip": "net.IP",
    "cidr": "net.CIDR",
    "condition": "kro.run.Condition",
    "runtime": "kro.run.Runtime",
}
_FIELDS: Final = {"kro.run.Condition": ("type", "status", "reason", "message"), "kro.run.Runtime": ()}  # of text
_STRUCT: Final = ".google.protobuf.Struct"
_LIST: Final = ".google.protobuf.ListValue"
_VALUE: Final = ".google.protobuf.Value"


def pool_of(schemas: dict[str, Schema]) -> descriptor_pool.DescriptorPool:
    """Return a pool with one message type `blueprint.NAME` for each object schema, and the well-known types."""
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="blueprint.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend(module.DESCRIPTOR.name for module in _WELL_KNOWN)
    for name, schema in schemas.items():
        _add_message(file.message_type.add(), name, schema, f".{PACKAGE}.{name}")
    pool.AddSerializedFile(file.SerializeToString())
    _add_values(pool)
    return pool


@cache
def values_pool() -> descriptor_pool.DescriptorPool:
    """Return the pool of the values' message types alone."""
    pool = descriptor_pool.DescriptorPool()
    _add_values(pool)
    return pool


def value_of(name: str, **fields: str) -> Message:
    """Return a value of one of the types of VALUES."""
    return _message_class(name)(**fields)


def is_value(value: Message, name: str) -> bool:
    """Return whether a value is of one of the types of VALUES."""
    return str(value.DESCRIPTOR.full_name) == VALUES[name]


def text_of(value: Message, name: str) -> str:
    """Return the text of a value. ValueError when it is of another type."""
    if not is_value(value, name):
        raise ValueError(f"a {value.DESCRIPTOR.full_name} is no {VALUES[name]}")
    return str(getattr(value, "text"))  # noqa: B009 (the class is made at run time)


def fields_of(value: Message) -> dict[str, str]:
    """Return every field of a value."""
    return {field.name: getattr(value, field.name) for field in value.DESCRIPTOR.fields}


@cache
def _message_class(name: str) -> type[Message]:
    return message_factory.GetMessageClass(values_pool().FindMessageTypeByName(VALUES[name]))


def _add_values(pool: descriptor_pool.DescriptorPool) -> None:
    for full in VALUES.values():
        package, _, name = full.rpartition(".")
        file = descriptor_pb2.FileDescriptorProto(name=f"{full}.proto", package=package, syntax="proto3")
        message = file.message_type.add(name=name)
        for number, key in enumerate(_FIELDS.get(full, ("text",)), start=1):
            message.field.add(name=key, number=number, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
        pool.AddSerializedFile(file.SerializeToString())


def _add_message(message: Any, name: str, schema: Schema, full: str) -> None:
    message.name = name
    message.options.deprecated_legacy_json_field_conflicts = True  # fooBar and foo_bar may stand side by side
    for number, (key, inside) in enumerate(schema.get("properties", {}).items(), start=1):
        if _IDENTIFIER.fullmatch(key):
            field = message.field.add(name=key, json_name=key, number=_number(number), label=_F.LABEL_OPTIONAL)
            _set_type(message, field, inside, f"T{number}", full)


def _number(index: int) -> int:
    return index if index < 19_000 else index + 1_000  # 19000 to 19999 are protobuf's own


def _set_type(message: Any, field: Any, schema: Schema, name: str, full: str) -> None:
    kind = schema.get("type")
    if kind in _ATOMS:
        field.type = _ATOMS[kind]
    elif kind == "array":
        field.label = _F.LABEL_REPEATED
        _set_element(message, field, schema.get("items", {}), name, full)
    elif kind == "object" and "additionalProperties" in schema:
        entry_name = _entry_name(field.name)
        if any(each.name == entry_name for each in message.nested_type):
            _refer(field, _STRUCT)
            return
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_F.LABEL_OPTIONAL, type=_F.TYPE_STRING)
        value = entry.field.add(name="value", number=2, label=_F.LABEL_OPTIONAL)
        _set_element(message, value, schema["additionalProperties"], name, full)
        field.label = _F.LABEL_REPEATED
        _refer(field, f"{full}.{entry_name}")
    else:
        _set_element(message, field, schema, name, full)


def _entry_name(key: str) -> str:
    """Return the only name protobuf lets the entry type of map field `key` have."""
    return "".join(part[:1].upper() + part[1:] for part in key.split("_")) + "Entry"


def _set_element(message: Any, field: Any, schema: Schema, name: str, full: str) -> None:
    kind = schema.get("type")
    if kind in _ATOMS:
        field.type = _ATOMS[kind]
    elif kind == "array":
        _refer(field, _LIST)
    elif kind == "object" and (schema.get(OPEN) or "additionalProperties" in schema):
        _refer(field, _STRUCT)
    elif kind == "object":
        _add_message(message.nested_type.add(), name, schema, f"{full}.{name}")
        _refer(field, f"{full}.{name}")
    else:
        _refer(field, _VALUE)


def _refer(field: Any, type_name: str) -> None:
    field.type = _F.TYPE_MESSAGE
    field.type_name = type_name
