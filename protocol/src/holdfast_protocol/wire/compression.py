"""Zstandard, level 3, with decompression bounded before memory is spent."""

import sys
from typing import Final

from holdfast_protocol.errors import WireError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 3


def compress(raw: bytes) -> bytes:
    """Return one frame that states the size of its content."""
    return bytes(zstd.compress(raw, LEVEL))


def decompress(frame: bytes, *, limit: int) -> bytes:
    """Return the content of exactly one whole frame of at most `limit` bytes, or raise WireError."""
    decompressor = zstd.ZstdDecompressor()
    try:
        raw = bytes(decompressor.decompress(frame, limit + 1))
    except zstd.ZstdError:
        raise WireError("not a zstd frame", reason="BadCompression") from None
    if len(raw) > limit:
        raise WireError(f"more than {limit} bytes decompressed", reason="TooLarge")
    if not decompressor.eof or decompressor.unused_data:
        raise WireError("not one whole zstd frame", reason="BadCompression")
    return raw
