"""Readings into the queue of a bridge, as its rules say them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from holdfast_protocol.bridging.limits import fits_remote
from holdfast_protocol.bridging.payloads import payload_of
from holdfast_protocol.bridging.rules import Route, chosen
from holdfast_protocol.bridging.standing import Stand, Way
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.relay.queue import Entry, Queue
from holdfast_protocol.wire.readings import Reading

_PACKED: Final = msgspec.msgpack.Encoder()
_UNPACKED: Final = msgspec.msgpack.Decoder(Reading)
_FORM: Final = "form"  # the note that says what waits


class Feed:
    """What readings become. `namespace` is Ditto's; `packed`: they stay readings, for an edge node to say."""

    def __init__(
        self,
        routes: Sequence[Route],
        queue: Queue,
        took: Callable[[Way, Stand], None],
        *,
        namespace: str = "",
        product: str = "",
        packed: bool = False,
    ) -> None:
        self._routes = tuple(each for each in routes if each.of_readings)
        self._queue = queue
        self._took = took
        self._namespace = namespace
        self._product = product
        self._packed = packed
        self.is_closed = False  # the queue goes, or is gone
        self._missed: dict[str, tuple[int, int]] = {}  # by reason, what is still to be counted: messages, bytes

    def adopt(self) -> None:
        """Make of what waits what this feed would have made: the bridge may have been an edge node, or none, before. Blocks.

        Raises TransientError `DiskFull`.
        """
        form = b"packed" if self._packed else b"said"
        before = self._queue.note(_FORM)
        if before not in (form, b""):
            self._queue.rewrite("out", self._adopted)
        if before != form:
            self._queue.keep_note(_FORM, form)

    def _adopted(self, entry: Entry) -> Entry | str:
        try:
            reading = _UNPACKED.decode(entry.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "OtherForm" if self._packed else entry
        return entry if self._packed else self._made(reading, {}) or "NoRule"

    async def put(self, readings: Sequence[Reading]) -> None:
        """Return when they are durable, or counted as dropped where the disk takes no more."""
        await self.put_about([(each, {}) for each in readings], patient=False)

    async def put_about(self, readings: Sequence[tuple[Reading, Mapping[str, str]]], *, patient: bool = True) -> None:
        """The same of readings with the names that come with each. `patient`: raises instead of dropping."""
        if self.is_closed:
            return
        entries: list[Entry] = []
        before = dict(self._missed)
        for reading, about in readings:
            made = self._made(reading, about)
            if isinstance(made, Entry):
                entries.append(made)
            elif made:
                self._miss(made, len(str(reading.value)))
        if not entries and not self._missed:
            return
        losses, self._missed = self._missed, {}
        counted = [(reason, count, size) for reason, (count, size) in losses.items()]
        try:
            stand = await self._queue.database.call(self._queue.put, "out", entries, counted)
        except (TransientError, PermanentError) as error:
            if patient:
                self._missed = before  # all of it comes again
                raise
            self._missed = losses
            for each in entries:
                self._miss(error.reason, each.size)
        else:
            self._took("out", stand)

    def _miss(self, reason: str, size: int) -> None:
        count, before = self._missed.get(reason, (0, 0))
        self._missed[reason] = (count + 1, before + size)

    def _made(self, reading: Reading, about: Mapping[str, str]) -> Entry | str:
        """Return what goes over, "" when no rule wants it, or why it does not."""
        found = chosen(self._routes, f"{reading.device}/{reading.metric}", about)
        if found is None:
            return ""
        if self._packed:
            return Entry(f"{reading.device}/{reading.metric}", _PACKED.encode(reading))
        route, topic = found
        if not topic:
            return "BadTopic"
        payload = payload_of(reading, route.rule.form, self._namespace)
        if len(payload) > route.rule.max_payload:
            return "TooLarge"
        if refused := fits_remote(self._product, topic, payload):
            return refused
        return Entry(topic, payload, route.rule.qos, route.rule.retain == "set")
