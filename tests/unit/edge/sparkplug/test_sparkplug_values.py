"""Every Sparkplug type as a value of ours, and what is turned away."""

import base64
import struct
import uuid
from typing import Any

import pytest

from holdfast_edge.core.sparkplug import values
from holdfast_edge.core.sparkplug.payload import opened
from holdfast_protocol.mapping.values import Unfit
from support.sparkplug import DataSet, DataSetValue, Metric, Payload, Row, properties


def value(**fields: Any) -> object:
    """Return what a metric with these fields becomes, once over the wire."""
    found = opened(Payload(timestamp=1, metrics=[Metric(name="m", **fields)]).SerializeToString())
    assert found.rejected == []
    return values.value_of(found.metrics[0].datatype, found.metrics[0].case, found.metrics[0].raw)


UUID = str(uuid.UUID(int=5))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"datatype": 1, "int_value": 0xFFFFFFFF}, -1),
        ({"datatype": 1, "int_value": 0x80}, -128),
        ({"datatype": 1, "int_value": 127}, 127),
        ({"datatype": 2, "int_value": 0xFFFF8000}, -32768),
        ({"datatype": 3, "int_value": 0xFFFFFFFE}, -2),
        ({"datatype": 3, "long_value": 2**64 - 2}, -2),
        ({"datatype": 4, "long_value": 2**64 - 3}, -3),
        ({"datatype": 4, "int_value": 2**32 - 1}, 2**32 - 1),
        ({"datatype": 5, "int_value": 255}, 255),
        ({"datatype": 6, "int_value": 65535}, 65535),
        ({"datatype": 7, "int_value": 2**32 - 1}, 2**32 - 1),
        ({"datatype": 7, "long_value": 2**32 - 1}, 2**32 - 1),
        ({"datatype": 8, "long_value": 2**63 - 1}, 2**63 - 1),
        ({"datatype": 8, "long_value": 2**64 - 1}, float(2**64)),
        ({"datatype": 9, "float_value": 0.1}, 0.1),
        ({"datatype": 9, "float_value": -21.75}, -21.75),
        ({"datatype": 9, "float_value": float("nan")}, None),
        ({"datatype": 10, "double_value": 0.1}, 0.1),
        ({"datatype": 10, "double_value": float("-inf")}, None),
        ({"datatype": 11, "boolean_value": True}, True),
        ({"datatype": 11, "boolean_value": False}, False),
        ({"datatype": 12, "string_value": "läuft"}, "läuft"),
        ({"datatype": 13, "long_value": 1_790_000_000_000}, 1_790_000_000_000),
        ({"datatype": 14, "string_value": "a\nb"}, "a\nb"),
        ({"datatype": 15, "string_value": UUID}, UUID),
        ({"datatype": 17, "bytes_value": b"\0\xff"}, base64.b64encode(b"\0\xff").decode()),
        ({"datatype": 18, "bytes_value": b"file"}, base64.b64encode(b"file").decode()),
        ({"datatype": 22, "bytes_value": struct.pack("<2b", -23, 123)}, "[-23,123]"),
        ({"datatype": 23, "bytes_value": struct.pack("<2h", -30000, 30000)}, "[-30000,30000]"),
        ({"datatype": 24, "bytes_value": struct.pack("<2i", -1, 315338746)}, "[-1,315338746]"),
        ({"datatype": 25, "bytes_value": struct.pack("<q", -(2**63))}, f"[{-(2**63)}]"),
        ({"datatype": 26, "bytes_value": b"\x17\xfa"}, "[23,250]"),
        ({"datatype": 27, "bytes_value": struct.pack("<2H", 30, 52360)}, "[30,52360]"),
        ({"datatype": 28, "bytes_value": struct.pack("<I", 3293969225)}, "[3293969225]"),
        ({"datatype": 29, "bytes_value": struct.pack("<Q", 2**64 - 1)}, f"[{2**64 - 1}]"),
        ({"datatype": 30, "bytes_value": struct.pack("<2f", 1.23, float("nan"))}, "[1.23,null]"),
        ({"datatype": 31, "bytes_value": struct.pack("<2d", 12.354213, float("inf"))}, "[12.354213,null]"),
        (
            {"datatype": 32, "bytes_value": b"\x0c\0\0\0\x34\xd0"},
            "[false,false,true,true,false,true,false,false,true,true,false,true]",
        ),
        ({"datatype": 33, "bytes_value": b"ABC\0hello\0"}, '["ABC","hello"]'),
        ({"datatype": 33, "bytes_value": b""}, "[]"),
        ({"datatype": 34, "bytes_value": struct.pack("<q", 1256102875335)}, "[1256102875335]"),
        ({"datatype": 3, "is_null": True}, None),
        ({"datatype": 3, "is_null": True, "int_value": 4}, None),
        ({"datatype": 3}, None),
    ],
    ids=str,
)
def test_a_value_of_each_type_comes_as_what_it_means(fields: dict[str, Any], expected: object) -> None:
    found = value(**fields)
    assert found == expected
    assert type(found) is type(expected)


def test_a_set_of_data_comes_as_json() -> None:
    rows = [
        Row(
            elements=[DataSetValue(int_value=2**32 - 5), DataSetValue(string_value="on"), DataSetValue(float_value=0.1)]
        ),
        Row(elements=[DataSetValue(int_value=7), DataSetValue(string_value="ü"), DataSetValue()]),
    ]
    data = DataSet(num_of_columns=3, columns=["a", "b", "c"], types=[3, 12, 9], rows=rows)
    assert value(datatype=16, dataset_value=data) == '{"columns":["a","b","c"],"rows":[[-5,"on",0.1],[7,"ü",null]]}'


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"datatype": 1, "int_value": 256}, "BadValue"),
        ({"datatype": 2, "int_value": 0x7FFF8000}, "BadValue"),
        ({"datatype": 5, "int_value": 256}, "BadValue"),
        ({"datatype": 7, "long_value": 2**32}, "BadValue"),
        ({"datatype": 3, "string_value": "3"}, "BadValue"),
        ({"datatype": 9, "int_value": 3}, "BadValue"),
        ({"datatype": 11, "int_value": 1}, "BadValue"),
        ({"datatype": 12, "bytes_value": b"x"}, "BadValue"),
        ({"datatype": 12, "string_value": "a\0b"}, "BadText"),
        ({"datatype": 12, "string_value": "x" * 4097}, "TooLarge"),
        ({"datatype": 17, "bytes_value": b"x" * 4000}, "TooLarge"),
        ({"datatype": 24, "bytes_value": b"xyz"}, "BadValue"),
        ({"datatype": 26, "bytes_value": b"x" * 20_000}, "TooLarge"),
        ({"datatype": 26, "bytes_value": b"x" * 4_000}, "TooLarge"),
        ({"datatype": 32, "bytes_value": b"\xff\xff\xff\xff\0"}, "TooLarge"),
        ({"datatype": 32, "bytes_value": b"\x09\0\0\0\0"}, "BadValue"),
        ({"datatype": 32, "bytes_value": b""}, "BadValue"),
        ({"datatype": 33, "bytes_value": b"open"}, "BadValue"),
        ({"datatype": 33, "bytes_value": b"\xff\0"}, "BadText"),
        ({"datatype": 20, "string_value": "x"}, "BadValue"),
        ({"datatype": 35, "string_value": "x"}, "UnknownType"),
        ({"datatype": 0, "string_value": "x"}, "UnknownType"),
        ({"datatype": 16, "dataset_value": DataSet(num_of_columns=2, columns=["a"], types=[3])}, "BadValue"),
        (
            {
                "datatype": 16,
                "dataset_value": DataSet(columns=["a"], types=[16], rows=[Row(elements=[DataSetValue()])]),
            },
            "UnknownType",
        ),
        ({"datatype": 16, "dataset_value": DataSet(columns=["a"], types=[3], rows=[Row()])}, "BadValue"),
        ({"datatype": 16, "dataset_value": DataSet(rows=[Row()] * 5000)}, "TooLarge"),
    ],
    ids=str,
)
def test_what_is_no_value_of_its_type_is_turned_away_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        value(**fields)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("said", "quality"),
    [(192, "good"), (216, "good"), (64, "uncertain"), (500, "uncertain"), (0, "bad"), (28, "bad"), (1000, "bad")],
)
def test_unit_and_quality_are_read_from_properties(said: int, quality: str) -> None:
    found = opened(
        Payload(
            metrics=[Metric(name="m", properties=properties(engUnit="°C", Quality=said, other=5))]
        ).SerializeToString()
    )
    assert (found.metrics[0].unit, found.metrics[0].quality) == ("°C", quality)


@pytest.mark.parametrize("unit", ["x" * 33, "a\nb"])
def test_a_unit_that_is_none_is_not_taken(unit: str) -> None:
    found = opened(Payload(metrics=[Metric(name="m", properties=properties(unit=unit))]).SerializeToString())
    assert found.metrics[0].unit is None


@pytest.mark.parametrize(
    "number", [0.0, -0.0, 3.4028234663852886e38, 1e-45, 16777216.0, 0.3, 1 / 3, 1e10, 123456.789, 9.999999e-5]
)
def test_a_short_float_becomes_the_shortest_decimal_that_is_the_same(number: float) -> None:
    exact = struct.unpack("<f", struct.pack("<f", number))[0]
    short = values.shortest(exact)
    assert struct.pack("<f", short) == struct.pack("<f", number)
    assert len(repr(short)) <= len(repr(exact))
