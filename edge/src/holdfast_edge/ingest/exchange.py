"""One push: what a request must be, the message it becomes, and what it is answered. Pure but for the clock."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from holdfast_edge.core.sources import printable
from holdfast_edge.ingest.intake import Message
from holdfast_edge.ingest.memory import entry_of
from holdfast_protocol.mapping.formats import Format, Reader
from holdfast_protocol.mapping.pushed import pushed
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.runtime.clock import Clock

PATH: Final = "/v1/readings"
MAX_HEAD: Final = 16 * 1024  # bytes
MAX_BODY: Final = 256 * 1024  # bytes
MAX_KEY: Final = 200  # bytes of an Idempotency-Key
_FORMATS: Final[Mapping[str, Format]] = {
    "application/json": "json",
    "text/csv": "csv",
    "application/cbor": "cbor",
}
_ANY: Final = ("", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain")


class Keys(msgspec.Struct, frozen=True):
    """Who may push: whoever knows the token, or the name and password; with none of them, everybody who gets here."""

    token: str = ""
    username: str = ""
    password: str = ""

    def admit(self, given: str) -> bool:
        """Return whether an Authorization header is right."""
        scheme, _, word = given.partition(" ")
        if self.token:
            return scheme.lower() == "bearer" and _same(word.strip(), self.token.strip())
        if self.username:
            try:
                text = base64.b64decode(word.strip(), validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                return False
            return scheme.lower() == "basic" and _same(text, f"{self.username}:{self.password.rstrip(chr(10))}")
        return True


class Reply(msgspec.Struct, frozen=True):
    status: int
    reason: str = ""
    message: str = ""
    place: str = ""
    retry: int = 0  # seconds; 0: trying again does not help

    @property
    def phrase(self) -> str:
        return HTTPStatus(self.status).phrase

    def body(self) -> dict[str, Any]:
        if self.status < 400:
            return {"accepted": True}
        return {"error": {"reason": self.reason, "message": self.message, "place": self.place}}


class Exchange:
    """`plain`: without rules; then the content type says the format, else it must be the source's."""

    def __init__(self, reader: Reader, keys: Keys, clock: Clock, *, plain: bool) -> None:
        self.limit = MAX_BODY if reader.format != "raw" else reader.limit
        self._reader = reader
        self._keys = keys
        self._clock = clock
        self._plain = plain

    def refusal(self, method: bytes, url: bytes, headers: Mapping[bytes, bytes], *, full: bool) -> Reply | None:
        """Return why a request is refused by its head, None when its body is wanted."""
        if not self._keys.admit(headers.get(b"authorization", b"").decode("latin-1")):
            return Reply(401, "Unauthorized", "a token, or a name and password, is needed")
        topic = _topic(url)
        if topic is None or (self._plain and topic):
            return Reply(404, "NotFound", f"readings are pushed to {PATH}")
        if method != b"POST":
            return Reply(405, "BadMethod", "POST")
        kind = _kind(headers)
        if kind not in _ANY and (kind not in _FORMATS if self._plain else _FORMATS.get(kind) != self._reader.format):
            return Reply(415, "BadFormat", f"{printable(kind)} is not what this source takes")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:12]) > self.limit:
            return Reply(413, "TooLarge", f"the limit is {self.limit} bytes")
        if full:
            return Reply(503, "Full", "nothing more can be stored now", retry=5)
        return None

    def message(self, url: bytes, headers: Mapping[bytes, bytes], body: bytes) -> Message:
        """Return what a request brings."""
        key = headers.get(b"idempotency-key", b"")[:MAX_KEY]
        received = int(self._clock.wall() * 1000)
        entry = entry_of(0, "", key) if key else b""
        if not self._plain:
            return Message(_topic(url) or "", body, received, entry, bool(key), told=True)
        reader = Reader(_FORMATS.get(_kind(headers), "json"), limit=self.limit)

        def map_(_: str, payload: bytes, at: int) -> Any:
            return pushed(payload, at, reader)

        return Message("", body, received, entry, bool(key), map_, told=True)

    def answer(self, rejection: Rejection | None) -> Reply:
        """Return what a pusher is told once everything is durable."""
        if rejection is None:
            return Reply(202)
        status, retry = (429, 1) if rejection.reason == "Flood" else (422, 0)
        return Reply(status, rejection.reason, printable(rejection.message), rejection.place, retry)


def _topic(url: bytes) -> str | None:
    """Return what follows the path, "" for nothing; None for another path."""
    path = url.partition(b"?")[0].decode("latin-1")
    if path == PATH:
        return ""
    if not path.startswith(f"{PATH}/"):
        return None
    return unquote(path[len(PATH) + 1 :], errors="replace")


def _kind(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _same(one: str, other: str) -> bool:
    digests = (hashlib.sha256(each.encode("utf-8", "replace")).digest() for each in (one, other))
    return hmac.compare_digest(*digests)
