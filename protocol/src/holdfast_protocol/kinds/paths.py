"""Paths a resource may name: absolute and plain, so that the text says where it is."""

import re
from typing import Final

from holdfast_protocol.errors import WireError

MAX_PATH: Final = 4095  # bytes
MAX_NAME: Final = 255  # bytes
TEMPORARY: Final = ".holdfast-"  # begins the names of half-written files
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def path_parts(path: str, field: str) -> tuple[str, ...]:
    """Return the components of an absolute path, or raise WireError BadPath naming `field`."""

    def refusal(why: str) -> WireError:
        return WireError(f"{field}: path {path[:200]!r} {why}", reason="BadPath", hint="write an absolute, plain path")

    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise refusal("is not text") from None
    if not path.startswith("/") or len(encoded) > MAX_PATH:
        raise refusal("is not absolute" if len(encoded) <= MAX_PATH else "is too long")
    if _CONTROL.search(path):
        raise refusal("contains control characters")
    parts = tuple(path[1:].split("/"))
    if any(part in {"", ".", ".."} for part in parts):
        raise refusal("has an empty, '.' or '..' part")
    if any(len(part.encode()) > MAX_NAME for part in parts):
        raise refusal(f"has a part of more than {MAX_NAME} bytes")
    if parts[-1].startswith(TEMPORARY):
        raise refusal(f"begins with {TEMPORARY!r}, which half-written files do")
    return parts
