"""Sinks: where the hub gives the readings of some sites to, besides storing them. `spec.placement` names the sites.

Exactly one destination.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import destinations
from holdfast_hub.blueprint.destinations import NATS, OTLP, Destination, Kafka, PostgreSQL, Webhook
from holdfast_protocol.kinds.misfits import misfits
from holdfast_protocol.wire.flaws import Flaw

KIND: Final = "Sink"
BEGINNING: Final = "beginning"
DESTINATIONS: Final = ("webhook", "postgresql", "otlp", "nats", "kafka")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`batch` is how many readings are handed over at once, at least those of one stored group. `first` (written `from`) is
    what a new sink begins with, besides what comes: "beginning", or readings from an RFC 3339 time on; "": nothing."""

    webhook: Webhook | None = None
    postgresql: PostgreSQL | None = None
    otlp: OTLP | None = None
    nats: NATS | None = None
    kafka: Kafka | None = None
    batch: int = 1_000
    first: str = msgspec.field(default="", name="from")

    @property
    def to(self) -> str:
        """The key of the destination there is, in a spec without flaws."""
        return next(key for key in DESTINATIONS if getattr(self, key) is not None)

    @property
    def destination(self) -> Destination:
        found: Destination = getattr(self, self.to)
        return found


def read(spec: dict[str, Any]) -> Spec:
    """Return a spec that `flaws` found nothing in."""
    return msgspec.convert(spec, Spec)


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a Sink's spec, without its placement."""
    if found := misfits(spec, Spec):
        yield from found
        return
    wanted = read(spec)
    given = [key for key in DESTINATIONS if getattr(wanted, key) is not None]
    if len(given) != 1:
        yield Flaw((), f"exactly one of {', '.join(DESTINATIONS)}", hint="webhook: {url: https://…}")
    if not 1 <= wanted.batch <= 10_000:
        yield Flaw(("batch",), "must be 1 to 10000 readings")
    if wanted.first not in ("", BEGINNING) and _moment(wanted.first) is None:
        yield Flaw(("from",), "must be beginning or an RFC 3339 time", hint="2026-11-21T00:00:00Z")
    for key in given:
        yield from destinations.flaws(key, getattr(wanted, key))


def start(spec: Spec) -> int | None:
    """Return from which time on, in milliseconds since 1970, a new sink is given what is there; None: nothing of it."""
    if not spec.first:
        return None
    return -(2**63) if spec.first == BEGINNING else _moment(spec.first)


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
