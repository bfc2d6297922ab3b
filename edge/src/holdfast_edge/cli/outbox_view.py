"""The outbox as a table for people."""

from typing import Any

from holdfast_edge.cli.output import table


def outbox_text(answer: dict[str, Any]) -> str:
    """Return what an agent, or its disk, says of its outbox."""
    rows = [
        (
            name,
            str(each["rows"]),
            _size(each["bytes"]),
            _share(each["bytes"], each["quota"]),
            _span(each["age_s"]),
            _span(each["full_in_s"]),
            ", ".join(f"{reason} {loss['rows']}" for reason, loss in sorted(each["losses"].items())) or "none",
        )
        for name, each in answer["classes"].items()
    ]
    lines = [table(("CLASS", "ROWS", "BYTES", "FULL", "OLDEST", "LASTS", "LOST"), rows)]
    if budget := answer["budget"]:
        left = "" if budget["left"] is None else f"{_size(budget['left'])} of today's budget left"
        why = "" if budget["allowed"] else f"history waits: {budget['why']}"
        if left or why:
            lines.append("; ".join(filter(None, (left, why))))
    if link := answer["link"]:
        lines.append(f"link {link['doing']}")
    lines.append(f"disk {_size(answer['disk_free'])} free")
    return "\n".join(lines)


def _size(count: int) -> str:
    for size, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"


def _span(seconds: float | None) -> str:
    """Return a time in its largest unit: 40 s, 12 min, 5.0 h, 9.3 d."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
