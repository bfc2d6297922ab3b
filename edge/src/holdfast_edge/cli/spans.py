"""Lengths of time as people write them at the command line: 90s, 30m, 1h30m, 2d."""

from holdfast_protocol.calendar import durations
from holdfast_protocol.errors import WireError


def duration(text: str) -> float:
    """Return seconds, 1 or more; raises ValueError that says what is expected."""
    try:
        return float(durations.seconds(text, ""))
    except WireError:
        raise ValueError(f"{text!r} is no length of time: 90s, 30m, 1h30m, 2d") from None
