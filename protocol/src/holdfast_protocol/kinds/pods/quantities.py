"""Kubernetes quantities: `500m`, `64Mi`, `1.5Gi`, `128974848`, `129e6`."""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

Quantity = str | int | float
_QUANTITY: Final = re.compile(
    r"(?P<number>[0-9]{1,18}(\.[0-9]{0,9})?|\.[0-9]{1,9})(?P<suffix>[eE][+-]?[0-9]{1,2}|[A-Za-z]{0,2})"
)
_SUFFIXES: Final = {
    "": Decimal(1),
    **{
        name: Decimal(10) ** power
        for name, power in zip(
            ("n", "u", "m", "k", "M", "G", "T", "P", "E"), (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True
        )
    },
    **{name: Decimal(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def amount(quantity: Quantity) -> Decimal:
    """Return a quantity's number, never negative. Raises ValueError for text that is none."""
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or isinstance(quantity, bool):
        raise ValueError(f"{str(quantity)[:40]!r} is not a quantity such as 500m, 0.5, 64Mi or 1G")
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _SUFFIXES:
        return number * _SUFFIXES[suffix]
    if suffix[:1] in "eE" and len(suffix) > 1:
        return number.scaleb(int(suffix[1:]))
    raise ValueError(f"{suffix!r} in {str(quantity)[:40]!r} is not a unit of a quantity")


def whole_bytes(quantity: Quantity) -> int:
    """Return bytes, rounded up as Kubernetes does."""
    return int(amount(quantity).to_integral_value(rounding=ROUND_CEILING))


def nano_cpus(quantity: Quantity) -> int:
    """Return billionths of a CPU; the finest Kubernetes grants is a thousandth, rounded up."""
    thousandths = (amount(quantity) * 1000).to_integral_value(rounding=ROUND_CEILING)
    return int(thousandths) * 1_000_000
