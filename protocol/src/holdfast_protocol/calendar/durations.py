"""Durations as people write them: 90s, 30m, 2h, 1h30m, 2d."""

import re
from typing import Final

from holdfast_protocol.errors import WireError

_WRITTEN: Final = re.compile(r"(?:([0-9]{1,5})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?")
_SECONDS: Final = (86_400, 3_600, 60, 1)


def seconds(text: str, path: str) -> int:
    """Return a written duration in seconds, 1 or more; raises WireError `InvalidSpec` naming `path`."""
    found = _WRITTEN.fullmatch(text)
    total = sum(int(part or 0) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True)) if found else 0
    if total <= 0:
        raise WireError(
            f"{path}: {text[:40]!r} is not a duration",
            reason="InvalidSpec",
            hint="days, hours, minutes, seconds: 1h30m",
        )
    return total


def written(total: float) -> str:
    """Return seconds as text, in its two largest units: 1h30m, 2d4h, 45s."""
    left, parts = max(int(total), 0), []
    for size, unit in zip(_SECONDS, "dhms", strict=True):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2]) or "0s"
