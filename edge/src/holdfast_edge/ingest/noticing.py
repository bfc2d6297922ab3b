"""An outbox that also notes where its devices were seen, so that what is said to them finds the way."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import anyio

from holdfast_edge.ingest.taking import Sink
from holdfast_edge.store.whereabouts import Whereabouts
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading

MAX_KNOWN: Final = 50_000  # devices remembered as noted


class Noticing:
    """The outbox of one source. `able`: it carries commands to its devices."""

    def __init__(self, outbox: Sink, whereabouts: Whereabouts, source: str, *, able: bool) -> None:
        self._outbox = outbox
        self._whereabouts = whereabouts
        self._source = source
        self._able = able
        self._known: set[str] = set()

    async def append_readings(self, readings: Sequence[Reading], **how: Any) -> None:
        await self._outbox.append_readings(readings, **how)
        new = {reading.device for reading in readings} - self._known
        if new:
            # Not to be cancelled: the readings are committed, and who gave them is to hear of it. Without room, or with a
            # damaged file, devices are noted when they are seen again.
            with anyio.CancelScope(shield=True), contextlib.suppress(TransientError, PermanentError):
                await self._whereabouts.note(new, self._source, able=self._able)
                self._known = new if len(self._known) + len(new) > MAX_KNOWN else self._known | new

    async def append_records(self, stream: str, records: Sequence[Record]) -> None:
        await self._outbox.append_records(stream, records)

    def cursor(self, name: str) -> bytes:
        return self._outbox.cursor(name)
