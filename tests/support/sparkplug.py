"""A Sparkplug edge node of its own making: the whole schema, nested, with no line shared with the agent's."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "uint64": _F.TYPE_UINT64,
    "uint32": _F.TYPE_UINT32,
    "int64": _F.TYPE_INT64,
    "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE,
    "bool": _F.TYPE_BOOL,
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
}
_MESSAGES: dict[str, list[tuple[str, int, str, str]]] = {  # name, number, type, "" or "repeated" or "value" (the oneof)
    "Payload": [
        ("timestamp", 1, "uint64", ""),
        ("metrics", 2, "Metric", "repeated"),
        ("seq", 3, "uint64", ""),
        ("uuid", 4, "string", ""),
        ("body", 5, "bytes", ""),
    ],
    "Metric": [
        ("name", 1, "string", ""),
        ("alias", 2, "uint64", ""),
        ("timestamp", 3, "uint64", ""),
        ("datatype", 4, "uint32", ""),
        ("is_historical", 5, "bool", ""),
        ("is_transient", 6, "bool", ""),
        ("is_null", 7, "bool", ""),
        ("metadata", 8, "MetaData", ""),
        ("properties", 9, "PropertySet", ""),
        ("int_value", 10, "uint32", "value"),
        ("long_value", 11, "uint64", "value"),
        ("float_value", 12, "float", "value"),
        ("double_value", 13, "double", "value"),
        ("boolean_value", 14, "bool", "value"),
        ("string_value", 15, "string", "value"),
        ("bytes_value", 16, "bytes", "value"),
        ("dataset_value", 17, "DataSet", "value"),
        ("template_value", 18, "Template", "value"),
    ],
    "MetaData": [
        ("is_multi_part", 1, "bool", ""),
        ("content_type", 2, "string", ""),
        ("size", 3, "uint64", ""),
        ("seq", 4, "uint64", ""),
        ("file_name", 5, "string", ""),
        ("file_type", 6, "string", ""),
        ("md5", 7, "string", ""),
        ("description", 8, "string", ""),
    ],
    "PropertySet": [("keys", 1, "string", "repeated"), ("values", 2, "PropertyValue", "repeated")],
    "PropertyValue": [
        ("type", 1, "uint32", ""),
        ("is_null", 2, "bool", ""),
        ("int_value", 3, "uint32", "value"),
        ("long_value", 4, "uint64", "value"),
        ("float_value", 5, "float", "value"),
        ("double_value", 6, "double", "value"),
        ("boolean_value", 7, "bool", "value"),
        ("string_value", 8, "string", "value"),
    ],
    "DataSet": [
        ("num_of_columns", 1, "uint64", ""),
        ("columns", 2, "string", "repeated"),
        ("types", 3, "uint32", "repeated"),
        ("rows", 4, "Row", "repeated"),
    ],
    "Row": [("elements", 1, "DataSetValue", "repeated")],
    "DataSetValue": [
        ("int_value", 1, "uint32", "value"),
        ("long_value", 2, "uint64", "value"),
        ("float_value", 3, "float", "value"),
        ("double_value", 4, "double", "value"),
        ("boolean_value", 5, "bool", "value"),
        ("string_value", 6, "string", "value"),
    ],
    "Template": [
        ("version", 1, "string", ""),
        ("metrics", 2, "Metric", "repeated"),
        ("parameters", 3, "Parameter", "repeated"),
        ("template_ref", 4, "string", ""),
        ("is_definition", 5, "bool", ""),
    ],
    "Parameter": [
        ("name", 1, "string", ""),
        ("type", 2, "uint32", ""),
        ("int_value", 3, "uint32", "value"),
        ("string_value", 8, "string", "value"),
    ],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="org.proto", package="org", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(kind == "value" for *_, kind in fields):
            message.oneof_decl.add(name="value")
        for field, number, type_, kind in fields:
            added = message.field.add(name=field, number=number)
            added.label = _F.LABEL_REPEATED if kind == "repeated" else _F.LABEL_OPTIONAL
            if type_ in _SCALARS:
                added.type = _SCALARS[type_]
            else:
                added.type, added.type_name = _F.TYPE_MESSAGE, f".org.{type_}"
            if kind == "value":
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"org.{name}")) for name in _MESSAGES}


_MADE = _classes()
Payload, Metric, DataSet, Row, DataSetValue, Template, Parameter, PropertySet, PropertyValue = (
    _MADE[name]
    for name in (
        "Payload",
        "Metric",
        "DataSet",
        "Row",
        "DataSetValue",
        "Template",
        "Parameter",
        "PropertySet",
        "PropertyValue",
    )
)


def properties(**values: int | str) -> Any:
    found = PropertySet()
    for key, value in values.items():
        found.keys.append(key)
        if isinstance(value, str):
            found.values.append(PropertyValue(type=12, string_value=value))
        else:
            found.values.append(PropertyValue(type=3, int_value=value))
    return found


class Node:
    """What an edge node publishes: (topic, payload), numbered as the specification says."""

    def __init__(self, group: str = "Plant 1", name: str = "Line-A", bd_seq: int = 7) -> None:
        self.group = group
        self.name = name
        self.bd_seq = bd_seq
        self.seq = 0

    @property
    def command_topic(self) -> str:
        return f"spBv1.0/{self.group}/NCMD/{self.name}"

    def birth(self, *metrics: Any, at: int = 1000) -> tuple[str, bytes]:
        self.seq = 0
        return self.say("NBIRTH", "", self._bd(), *metrics, at=at)

    def device_birth(self, device: str, *metrics: Any, at: int = 1000) -> tuple[str, bytes]:
        return self.say("DBIRTH", device, *metrics, at=at)

    def data(self, *metrics: Any, device: str = "", at: int = 2000) -> tuple[str, bytes]:
        return self.say("DDATA" if device else "NDATA", device, *metrics, at=at)

    def device_death(self, device: str, at: int = 3000) -> tuple[str, bytes]:
        return self.say("DDEATH", device, at=at)

    def death(self, at: int = 0) -> tuple[str, bytes]:
        payload = Payload(timestamp=at, metrics=[self._bd()])
        return f"spBv1.0/{self.group}/NDEATH/{self.name}", payload.SerializeToString()

    def say(self, kind: str, device: str, *metrics: Any, at: int) -> tuple[str, bytes]:
        payload = Payload(timestamp=at, metrics=metrics, seq=self.seq)
        self.seq = (self.seq + 1) % 256
        end = f"/{device}" if device else ""
        return f"spBv1.0/{self.group}/{kind}/{self.name}{end}", payload.SerializeToString()

    def _bd(self) -> Any:
        return Metric(name="bdSeq", datatype=4, long_value=self.bd_seq)


def is_rebirth_request(payload: bytes) -> bool:
    message = Payload.FromString(payload)
    return [(m.name, m.boolean_value) for m in message.metrics] == [
        ("Node Control/Rebirth", True)
    ] and not message.HasField("seq")
