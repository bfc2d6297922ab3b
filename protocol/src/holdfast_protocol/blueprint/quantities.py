"""Quantities as Kubernetes writes them (500Mi, 1.5, 2k, 100m): CEL functions over exact numbers."""

import re
from fractions import Fraction
from typing import Any, Final

from google.protobuf.message import Message

from holdfast_protocol.blueprint.cel_types import text_of, value_of
from holdfast_protocol.blueprint.functions import Function

MAX_LENGTH: Final = 200  # characters of one
_FORM: Final = re.compile(r"([+-]?)([0-9]*)\.?([0-9]*)([eE][+-]?[0-9]{1,9}|[KMGTPE]i|[numkMGTPE]|)")
_POWERS: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {each: 1024**power for power, each in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_SMALLEST: Final = Fraction(1, 10**9)  # finer ones are rounded up to it
_LARGEST: Final = Fraction(2**63 - 1)


def amount(text: str) -> Fraction:
    """Return the number a quantity stands for. ValueError when it is none."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None or not (found[2] or found[3]):
        raise ValueError(f"{text[:80]!r} is no quantity: 500Mi, 1.5, 2k, 100m")
    sign, whole, part, suffix = found.groups()
    size = Fraction(int((whole + part) or "0"), 10 ** len(part))
    if suffix in _BINARY:
        size *= _BINARY[suffix]
    else:
        power = int(suffix[1:]) if suffix[:1] in ("e", "E") and len(suffix) > 1 else _POWERS[suffix]
        size *= Fraction(10) ** max(-2 * MAX_LENGTH, min(power, 2 * MAX_LENGTH))
    if size % _SMALLEST:
        size = (size // _SMALLEST + 1) * _SMALLEST
    return min(size, _LARGEST) * (-1 if sign == "-" else 1)


def number_of(value: Message) -> Fraction:
    """Return a quantity's number."""
    return Fraction(text_of(value, "quantity"))


def _made(value: Fraction) -> Message:
    return value_of("quantity", text=str(value))


def _is_quantity(text: str) -> bool:
    try:
        amount(text)
    except ValueError:
        return False
    return True


def _as_integer(value: Message) -> int:
    number = number_of(value)
    if number.denominator != 1 or abs(number) >= 2**63:
        raise ValueError("asInteger: the quantity is no whole number of 64 bits")
    return int(number)


def _sign(value: Message) -> int:
    number = number_of(value)
    return (number > 0) - (number < 0)


def _other(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int) else number_of(value)


FUNCTIONS: Final = (
    Function("isQuantity", ("string",), "bool", _is_quantity),
    Function("quantity", ("string",), "quantity", lambda text: _made(amount(text))),
    Function("sign", ("quantity",), "int", _sign, member=True),
    Function("isInteger", ("quantity",), "bool", lambda value: number_of(value).denominator == 1, member=True),
    Function("asInteger", ("quantity",), "int", _as_integer, member=True),
    Function("asApproximateFloat", ("quantity",), "double", lambda value: float(number_of(value)), member=True),
    *(
        Function("add", ("quantity", kind), "quantity", lambda a, b: _made(number_of(a) + _other(b)), member=True)
        for kind in ("quantity", "int")
    ),
    *(
        Function("sub", ("quantity", kind), "quantity", lambda a, b: _made(number_of(a) - _other(b)), member=True)
        for kind in ("quantity", "int")
    ),
)
