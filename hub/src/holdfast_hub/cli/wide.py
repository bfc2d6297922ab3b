"""`-o wide`: what a table leaves out for want of room."""

import time
from collections.abc import Mapping
from typing import Any

from holdfast_hub.cli import output


def more_columns(kind: str) -> dict[str, Any]:
    """Return further columns of a type's table: title to reader; none for a type that leaves nothing out."""
    now = time.time()
    if kind == "sites":
        return {
            "nodes": lambda item: ",".join(item["nodes"]) or "-",
            "region": lambda item: item["region"] or "-",
            "zones": lambda item: ",".join(item["zones"]) or "-",
            "provider": lambda item: item["provider"] or "-",
            "time zone": lambda item: item["time_zone"] or "-",
            "why": lambda item: item["message"] or "-",
        }
    if kind == "nodes":
        return {
            "gen": lambda item: item["generation"],
            "boot": lambda item: item["boot_id"][:8] or "-",
            "facts": lambda item: _pairs(item["facts"]),
        }
    if kind == "devices":
        return {"first seen": lambda item: output.age(item["first_seen"], now)}
    return {}


def _pairs(found: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())) or "-"
