"""Content digests: SHA-256 over canonical JSON, so that equal meaning gives equal digests."""

import hashlib
from typing import Any

from holdfast_protocol.wire import strict
from holdfast_protocol.wire.names import Digest


def digest(value: Any) -> Digest:
    """Return the digest of a JSON value or Struct."""
    return digest_bytes(strict.encode(value))


def digest_bytes(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
