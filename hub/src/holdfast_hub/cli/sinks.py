"""Sinks in a table."""

from typing import Any

from holdfast_hub.cli import output


def columns(now: float) -> dict[str, Any]:
    """Return the table columns of sinks."""
    return {
        "name": lambda item: item["name"],
        "to": lambda item: item["to"],
        "state": lambda item: item["state"],
        "sent": lambda item: item["sent"],
        "lag": lambda item: item["lag"],
        "last": lambda item: output.age(item["sent_at"], now),
        "message": lambda item: item["message"] or "-",
    }
