"""What `nft -j list table` shows, as it is compared: without what counts or numbers by itself. Pure."""

from typing import Any, Final

import msgspec

from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import Digest

_MOVING: Final = frozenset({"handle", "packets", "bytes", "used", "expires", "last"})
_UNORDERED: Final = frozenset({"elem", "set"})  # a hash's order is its own affair
_BY_PACKETS: Final = frozenset({"dynamic", "timeout"})  # flags of sets that packets fill


def listing_digest(output: bytes) -> Digest:
    """Return a digest that any edit of the table changes, and traffic through it does not. TransientError: BadListing."""
    try:
        parts: list[dict[str, Any]] = msgspec.json.decode(output, type=dict[str, list[dict[str, Any]]])["nftables"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        raise TransientError("nft answered something else than a listing", reason="BadListing") from None
    return digest([_still(part) for part in parts if "metainfo" not in part])


def _still(value: Any) -> Any:
    if isinstance(value, list):
        return [_still(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, each in value.items():
        still = _still(each)
        if key in _UNORDERED and isinstance(still, list):
            found[key] = sorted(still, key=strict.encode)
        elif key not in _MOVING or isinstance(each, dict | list):
            found[key] = still
    flags = value.get("flags", [])
    if "elem" in found and _BY_PACKETS & set(flags if isinstance(flags, list) else [flags]):
        del found["elem"]
    return found
