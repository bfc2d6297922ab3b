"""Lengths of time as people write them at the command line: 90s, 30m, 1h30m, 2d."""

import re
from typing import Final

from holdfast_hub.cli import exits

_HINT: Final = "90s, 30m, 1h30m, 2d"


def duration(text: str) -> int:
    """Return whole seconds, 1 or more."""
    from holdfast_protocol.calendar import durations
    from holdfast_protocol.errors import WireError

    try:
        return durations.seconds(text, "")
    except WireError:
        exits.usage(f"'{text}' is no length of time", _HINT)


def patience(text: str) -> float:
    """Return how many seconds to wait; a bare number is seconds, too."""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text) else float(duration(text))


def written(seconds: float) -> str:
    """Return a length of time as people write it."""
    from holdfast_protocol.calendar import durations

    return durations.written(seconds)
