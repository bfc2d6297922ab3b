"""Signed envelopes: DSSE (secure-systems-lab/dsse, protocol 1.0.0) with Ed25519.

The signature covers the exact bytes and their type; verification comes before parsing; `keyid` is only a hint and
the threshold counts distinct public keys. JSON carries documents; `up/*` batches travel in the same structure as
MessagePack, because base64 would cost a third of every reading.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict

MAX_SIGNATURES: Final = 16


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload_type: str
    payload: str
    signatures: list[_Signature]


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    payload_type: str
    payload: bytes
    signatures: list[tuple[str, bytes]]


def payload_type(kind: str, version: int = 1, encoding: str = "json") -> str:
    """Return the DSSE payload type of a message kind: application/vnd.holdfast.target.v1+json."""
    return f"application/vnd.holdfast.{kind}.v{version}+{encoding}"


def pae(kind: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is signed."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def key_id(public: bytes) -> str:
    """Return the name of a raw 32-byte public key."""
    return hashlib.sha256(public).hexdigest()[:32]


class Signer:
    """An Ed25519 key and the name of its public half."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is the raw 32-byte private key."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = self._key.public_key().public_bytes_raw()
        self.keyid: Final = key_id(self.public)

    def sign(self, kind: str, payload: bytes) -> bytes:
        """Return the raw signature over `payload` as a message of type `kind`."""
        return self._key.sign(pae(kind, payload))


def seal(kind: str, payload: bytes, signers: Iterable[Signer]) -> bytes:
    """Return a JSON envelope around `payload`."""
    return strict.encode(
        _Json(
            payload_type=kind,
            payload=base64.b64encode(payload).decode(),
            signatures=[
                _Signature(signer.keyid, base64.b64encode(signer.sign(kind, payload)).decode()) for signer in signers
            ],
        )
    )


def open_sealed(data: bytes, kind: str, keys: Mapping[str, bytes], *, limit: int, threshold: int = 1) -> bytes:
    """Return the payload of a JSON envelope signed by at least `threshold` of `keys` (name to raw public key)."""
    outer = strict.decode(data, _Json, limit=limit)
    try:
        payload = base64.b64decode(outer.payload, validate=True)
        signatures = [(entry.keyid, base64.b64decode(entry.sig, validate=True)) for entry in outer.signatures]
    except (binascii.Error, ValueError):
        raise WireError("payload or signature is not base64", reason="BadEnvelope") from None
    _verify(outer.payload_type, kind, payload, signatures, keys, threshold)
    return payload


def pack(kind: str, payload: bytes, signers: Iterable[Signer]) -> bytes:
    """Return a MessagePack envelope around `payload`."""
    return msgspec.msgpack.encode(
        _Packed(kind, payload, [(signer.keyid, signer.sign(kind, payload)) for signer in signers])
    )


def open_packed(data: bytes, kind: str, keys: Mapping[str, bytes], *, limit: int, threshold: int = 1) -> bytes:
    """Return the payload of a MessagePack envelope; as `open_sealed`."""
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes, the limit is {limit}", reason="TooLarge")
    try:
        outer = msgspec.msgpack.decode(data, type=_Packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not an envelope: {error}", reason="BadEnvelope") from None
    _verify(outer.payload_type, kind, outer.payload, outer.signatures, keys, threshold)
    return outer.payload


def _verify(
    found: str,
    kind: str,
    payload: bytes,
    signatures: list[tuple[str, bytes]],
    keys: Mapping[str, bytes],
    threshold: int,
) -> None:
    if found != kind:
        raise WireError(f"payload type {found[:80]!r}, expected {kind!r}", reason="WrongType")
    if len(signatures) > MAX_SIGNATURES:
        raise WireError(f"more than {MAX_SIGNATURES} signatures", reason="BadEnvelope")
    signed = pae(kind, payload)
    valid: set[bytes] = set()
    for keyid, signature in signatures:
        public = keys.get(keyid)
        if public is None or public in valid:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
        except InvalidSignature:
            continue
        valid.add(public)
    if len(valid) < max(threshold, 1):
        raise WireError(f"{len(valid)} valid signatures, {threshold} needed", reason="BadSignature")
