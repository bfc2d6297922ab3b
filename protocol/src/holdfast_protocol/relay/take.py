"""Taking: what one broker delivers is mapped, committed to the queue, and only then acknowledged. [inv: commit-before-ack]"""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import msgspec

from holdfast_protocol.bridging.limits import fits_remote
from holdfast_protocol.bridging.loops import MARK, MAX_HOPS, Rounds, came_back, hops, marked
from holdfast_protocol.bridging.rules import Route, chosen, filters_of
from holdfast_protocol.bridging.standing import Stand, Way
from holdfast_protocol.errors import LinkLost, TransientError
from holdfast_protocol.relay.queue import Entry, Queue
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Subscription

WITHIN: Final = 0.008  # seconds that the first message of a batch waits for others
BATCH: Final = 500
KNOWN: Final = 4_096  # messages remembered, to know those that come again
ENTRY: Final = 10  # bytes of one of them
AT_ONCE: Final = 8  # subscriptions in one request, as AWS IoT Core has it
RETRY: Final = 5.0  # seconds until a full disk is tried again


class Taking(msgspec.Struct, frozen=True):
    """What is taken on one side. `own` marks what goes over; `product` is the broker it goes to, `version` this side's."""

    way: Way
    routes: tuple[Route, ...]
    own: str
    version: int
    product: str = ""
    counts_rounds: bool = False  # one side knows no marks


class Taker:
    """INVARIANT: what is acknowledged is in the queue, or counted there as dropped."""

    def __init__(self, taking: Taking, queue: Queue, clock: Clock, took: Callable[[Way, Stand], None]) -> None:
        self._taking = taking
        self._queue = queue
        self._clock = clock
        self._took = took
        self._rounds = Rounds()
        self._note = f"known/{taking.way}"
        self._filters = filters_of(taking.routes)
        self._known: dict[bytes, None] = {}
        self._loaded = False
        self.problem: Callable[[str], None] = lambda _: None
        self.hears: Callable[[str, bytes], bool] = lambda *_: (
            False
        )  # whether a message was for the other side's speaker

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Take everything a connection delivers; ends by LinkLost."""
        await self._load(connected)
        async with anyio.create_task_group() as group:
            group.start_soon(self._subscribe, connection, connected)
            await self._take(connection)

    async def _load(self, connected: Connected) -> None:
        if not connected.session_present:
            self._known = {}  # a new session counts its packets from 1
        elif not self._loaded:
            stored = await self._queue.database.call(self._queue.note, self._note)
            self._known = dict.fromkeys(stored[at : at + ENTRY] for at in range(0, len(stored), ENTRY))
        self._loaded = True

    async def _subscribe(self, connection: Connection, connected: Connected) -> None:
        wanted = [
            Subscription(pattern, qos, retained=1, no_local=True, as_published=True)
            for pattern, qos in sorted(self._filters.items())
        ]
        name, now = f"subscribed/{self._taking.way}", msgspec.json.encode(sorted(self._filters.items()))
        try:
            before = await self._queue.database.call(self._queue.note, name)
            # Without MQTT 5 to subscribe again is to be sent every retained message again.
            if self._taking.version == 5 or not connected.session_present or before != now:
                for start in range(0, len(wanted), AT_ONCE):
                    await connection.subscribe(wanted[start : start + AT_ONCE], beside=True)
                await self._queue.database.call(self._queue.keep_note, name, now)
            else:
                await connection.round_trip(beside=True)
            if not wanted:
                await connection.round_trip(beside=True)
        except LinkLost as lost:
            if lost.reason == "Refused":
                raise
            return  # who takes sees it too, and commits first what was delivered
        settled()

    async def _take(self, connection: Connection) -> None:
        while True:
            batch = await connection.receive_all(BATCH, WITHIN)
            await self._commit(batch)
            # What was read before the connection was lost is taken as well: its broker may have died with it.
            with contextlib.suppress(LinkLost):
                connection.acknowledge(*batch)

    async def _commit(self, batch: Sequence[Delivery]) -> None:
        entries: list[Entry] = []
        losses: list[tuple[str, int, int]] = []
        known = self._known.copy()  # and not in place: a commit that is cut short has taken nothing
        for delivery in batch:
            if self.hears(delivery.topic, delivery.payload):
                continue
            if delivery.qos:
                key = _entry(delivery)
                if delivery.duplicate and key in known:
                    continue
                _remember(known, key)
            made = self._made(delivery)
            if isinstance(made, Entry):
                entries.append(made)
            else:
                losses.append((made, 1, len(delivery.payload)))
        if not entries and not losses:
            return  # all of it came again, or was not for us
        notes = {self._note: b"".join(known)}
        while True:
            try:
                stand = await self._queue.database.call(self._queue.put, self._taking.way, entries, losses, notes)
            except TransientError as error:
                self.problem(f"{error.reason}: messages wait at their broker: {error.message}")
                await self._clock.sleep(error.after or RETRY)
            else:
                self._known = known
                self.problem("")
                self._took(self._taking.way, stand)
                return

    def _made(self, delivery: Delivery) -> Entry | str:
        """Return what goes over, or why it does not. [inv: one-bad-message-never-blocks-a-queue]"""
        taking = self._taking
        found = chosen(taking.routes, delivery.topic)
        if found is None:
            return "NoRule"
        route, topic = found
        if not topic:
            return "BadTopic"
        if len(delivery.payload) > route.rule.max_payload:
            return "TooLarge"
        seen = hops(delivery.properties)
        if came_back(seen, taking.own):
            return "Loop"
        if taking.counts_rounds and self._rounds.goes_round(topic, delivery.payload, self._clock.boottime()):
            return "Loop"
        if refused := fits_remote(taking.product, topic, delivery.payload):
            return refused
        retain = {"keep": delivery.retain, "clear": False, "set": True}[route.rule.retain]
        return Entry(topic, delivery.payload, route.rule.qos, retain, ",".join(seen[:MAX_HOPS]))


def _remember(known: dict[bytes, None], key: bytes) -> None:
    known.pop(key, None)
    known[key] = None
    if len(known) > KNOWN:
        del known[next(iter(known))]


def _entry(delivery: Delivery) -> bytes:
    """Return what a message is known by when it comes again: its packet identifier and a digest of topic and payload."""
    content = hashlib.sha256(delivery.topic.encode("utf-8", "replace") + b"\0" + delivery.payload).digest()
    return delivery.mid.to_bytes(2, "big") + content[: ENTRY - 2]


def mark_of(entry: Entry, own: str) -> tuple[tuple[str, str], ...]:
    """Return the properties a message goes over with."""
    return ((MARK, marked(entry.mark, own)),)
