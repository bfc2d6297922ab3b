"""Time zones: the one door to the machine's zone data (or to the package `tzdata` where the machine has none)."""

import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from holdfast_protocol.wire.windows import is_zone_name

LOCALTIME = Path("/etc/localtime")


def zone(name: str) -> tzinfo | None:
    """Return a zone by its IANA name; None when this machine does not know it."""
    if not is_zone_name(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def local_name(localtime: Path = LOCALTIME) -> str:
    """Return the name of the machine's own zone, UTC when it does not say."""
    try:
        _, found, name = os.readlink(localtime).partition("zoneinfo/")
    except OSError:
        return "UTC"
    return name if found and is_zone_name(name) else "UTC"


def local(localtime: Path = LOCALTIME) -> tzinfo:
    """Return the machine's own zone."""
    return zone(local_name(localtime)) or UTC
