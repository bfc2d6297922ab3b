"""Readings as HTTP POSTs of JSON, signed where there is a secret.

`Holdfast-Signature: t=<seconds since 1970>,v1=<hex>` is the HMAC-SHA256 of `<t>.` and the body. A 2xx is durable receipt.
"""

import hashlib
import hmac
import http.client
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec

from holdfast_hub.blueprint.sink import Webhook
from holdfast_hub.sinks.outlet import secret, value_of
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import Clock

MAX_ANSWER: Final = 64 * 1024  # bytes read of an answer
LONGEST: Final = 300.0  # seconds an answer may ask us to wait
UNFIT: Final = (400, 413, 415, 422)  # what is asked says: this body, however often


class WebhookOutlet:
    def __init__(self, name: str, wanted: Webhook, clock: Clock) -> None:
        self._name = name
        self._wanted = wanted
        self._clock = clock

    async def send(self, entries: Sequence[Entry]) -> int:
        """Send in one request; what is refused as unfit is halved until the readings at fault are found and counted."""
        status, after, said = await self._post(entries)
        if 200 <= status < 300:
            return 0
        if status in UNFIT:
            if len(entries) == 1:
                return 1
            half = len(entries) // 2
            return await self.send(entries[:half]) + await self.send(entries[half:])
        raise TransientError(f"answered {status}: {said}", reason="Refused", after=after)

    async def _post(self, entries: Sequence[Entry]) -> tuple[int, float, str]:
        body = msgspec.json.encode({"sink": self._name, "readings": [_reading(each) for each in entries]})
        headers = {"content-type": "application/json", "user-agent": "holdfast"}
        if self._wanted.secret_file:
            key = await secret(self._wanted.secret_file)
            moment = str(int(self._clock.wall()))
            signature = hmac.new(key.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
            headers["holdfast-signature"] = f"t={moment},v1={signature}"
        try:
            return await anyio.to_thread.run_sync(self._ask, body, headers, abandon_on_cancel=True)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{type(error).__name__}: {error}", reason="Unreachable") from error

    def _ask(self, body: bytes, headers: dict[str, str]) -> tuple[int, float, str]:
        parts = urlsplit(self._wanted.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._wanted.timeout_seconds)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            said = answer.read(MAX_ANSWER)[:200].decode("ascii", "backslashreplace")
            after = answer.getheader("retry-after", "")
            return answer.status, min(float(after), LONGEST) if after.isascii() and after.isdigit() else 0.0, said
        finally:
            connection.close()

    async def close(self) -> None:
        """Nothing is kept between requests."""


def _reading(entry: Entry) -> dict[str, Any]:
    one = entry.series
    return {
        "site": one.site,
        "node": one.node,
        "stream": entry.stream,
        "incarnation": entry.incarnation,
        "sequence": entry.row.sequence,
        "device": one.device,
        "metric": one.metric,
        "time": entry.row.time,
        "kind": one.kind,
        "value": value_of(entry),
        "unit": one.unit,
        "quality": one.quality,
    }
