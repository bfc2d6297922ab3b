"""Readings as HTTP POSTs of JSON, signed where there is a secret.

`Holdfast-Signature: t=<seconds since 1970>,v1=<hex>` is the HMAC-SHA256 of `<t>.` and the body. A 2xx is durable receipt.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_hub.blueprint.destinations import Webhook
from holdfast_hub.sinks.outlet import NOTHING, Refusal, in_halves, secret
from holdfast_hub.sinks.poster import Poster
from holdfast_hub.sinks.record import record_of
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.runtime.clock import Clock

UNFIT: Final = (400, 413, 415, 422)  # what is asked says: this body, however often


class WebhookOutlet:
    def __init__(self, name: str, wanted: Webhook, clock: Clock) -> None:
        self._name = name
        self._wanted = wanted
        self._clock = clock
        self._poster = Poster(wanted.tls, wanted.timeout_seconds, clock)

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        """Send in one request, or in as many as it takes to find what is unfit."""
        return await in_halves(entries, self._attempt)

    async def _attempt(self, entries: Sequence[Entry]) -> tuple[bool, Refusal]:
        body = msgspec.json.encode({"sink": self._name, "readings": [record_of(each) for each in entries]})
        headers = {"content-type": "application/json"}
        if self._wanted.secret_file:
            key = await secret(self._wanted.secret_file)
            moment = str(int(self._clock.wall()))
            signature = hmac.new(key.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
            headers["holdfast-signature"] = f"t={moment},v1={signature}"
        answer = await self._poster.post(self._wanted.url, body, headers)
        if answer.taken:
            return True, NOTHING
        if answer.status in UNFIT:
            return False, Refusal(why=answer.refusal().message)
        raise answer.refusal()

    async def close(self) -> None:
        """Nothing is kept between requests."""
