"""Sparkplug B payloads as protobuf message classes, made from the specification's tables of field numbers.

Whatever is nested or text stands as `bytes` here, which is the same on the wire: a stranger's message is opened one level
at a time, each counted before its parts are, so that a megabyte of empty metrics stays a megabyte.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F: Final = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "bytes": _F.TYPE_BYTES,
    "uint32": _F.TYPE_UINT32,
    "uint64": _F.TYPE_UINT64,
    "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE,
    "bool": _F.TYPE_BOOL,
}
# A line is: number, name, type; `*` repeats, `|` is one of the alternatives of `value`.
_SHAPES: Final = {
    "Payload": "1 timestamp uint64, 2 metrics bytes*, 3 seq uint64, 4 uuid bytes, 5 body bytes",
    "Metric": "1 name bytes, 2 alias uint64, 3 timestamp uint64, 4 datatype uint32, 5 is_historical bool,"
    " 6 is_transient bool, 7 is_null bool, 8 metadata bytes, 9 properties bytes, 10 int_value uint32|,"
    " 11 long_value uint64|, 12 float_value float|, 13 double_value double|, 14 boolean_value bool|,"
    " 15 string_value bytes|, 16 bytes_value bytes|, 17 dataset_value bytes|, 18 template_value bytes|,"
    " 19 extension_value bytes|",
    "PropertySet": "1 keys bytes*, 2 values bytes*",
    "PropertyValue": "1 type uint32, 2 is_null bool, 3 int_value uint32|, 4 long_value uint64|, 5 float_value float|,"
    " 6 double_value double|, 7 boolean_value bool|, 8 string_value bytes|, 9 propertyset_value bytes|,"
    " 10 propertysets_value bytes|, 11 extension_value bytes|",
    "DataSet": "1 num_of_columns uint64, 2 columns bytes*, 3 types uint32*, 4 rows bytes*",
    "Row": "1 elements bytes*",
    "DataSetValue": "1 int_value uint32|, 2 long_value uint64|, 3 float_value float|, 4 double_value double|,"
    " 5 boolean_value bool|, 6 string_value bytes|, 7 extension_value bytes|",
    "Template": "1 version bytes, 2 metrics bytes*, 3 parameters bytes*, 4 template_ref bytes, 5 is_definition bool",
    "Parameter": "1 name bytes, 2 type uint32, 3 int_value uint32|, 4 long_value uint64|, 5 float_value float|,"
    " 6 double_value double|, 7 boolean_value bool|, 8 string_value bytes|, 9 extension_value bytes|",
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="sparkplug", syntax="proto2")
    for name, shape in _SHAPES.items():
        message = file.message_type.add(name=name)
        for line in shape.split(", "):
            number, field, type_ = line.split()
            label = _F.LABEL_REPEATED if "*" in type_ else _F.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label, type=_TYPES[type_.strip("*|")])
            if "|" in type_:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sparkplug.{name}")) for name in _SHAPES}


_MADE: Final = _classes()
Payload: Final = _MADE["Payload"]
Metric: Final = _MADE["Metric"]
PropertySet: Final = _MADE["PropertySet"]
PropertyValue: Final = _MADE["PropertyValue"]
DataSet: Final = _MADE["DataSet"]
Row: Final = _MADE["Row"]
DataSetValue: Final = _MADE["DataSetValue"]
Template: Final = _MADE["Template"]
Parameter: Final = _MADE["Parameter"]
