"""Both ends of a stream in one process: an outbox, an ingest, and a wire between them that loses what it is told to."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from holdfast_edge.link.identity import Identity
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Page, Quotas
from holdfast_hub.link.ingest import Ingest, Taken
from holdfast_hub.store.reader import Reader
from holdfast_hub.store.readings import ReadingStore
from holdfast_hub.store.streams import StreamStore, open_streams
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.wire import batch, topics
from holdfast_protocol.wire.batch import Batch, Group, Segment, Stamp
from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.messages import Record, StreamAck
from holdfast_protocol.wire.names import FleetName, Incarnation, NodeName, SiteName
from holdfast_protocol.wire.readings import Reading, encode
from holdfast_protocol.wire.topics import Address

SIGNER = Signer(b"the node's key of these tests..!")
FLEET, SITE, NODE = FleetName("plants"), SiteName("site-1"), NodeName("node-1")
IDENTITY = Identity(FLEET, SITE, NODE, SIGNER)
INCARNATION = Incarnation("0123456789abcdef" * 2)
STAMP = Stamp("5f0c4a4e-0000-4000-8000-000000000000", 12_345, 1_700_000_000_000, "synced")
SMALL = Quotas(ballast=0)
UP = {name: Address("up", SITE, NODE, stream=name) for name in topics.STREAM_CLASSES}


def readings(first: int, count: int, *, text: int = 0) -> list[Reading]:
    """Return readings whose values say which they are; `text` makes each of that many incompressible characters."""
    if text:
        source = random.Random(first)
        alphabet = [chr(n) for n in range(0x4E00, 0x9E00)]
        return [
            Reading("d", "m", n, f"{n} {''.join(source.choices(alphabet, k=text))}")
            for n in range(first, first + count)
        ]
    return [Reading("d", "m", 1_700_000_000_000 + n, n) for n in range(first, first + count)]


def record(number: int, size: int = 0) -> Record:
    body = {"n": number, "x": "".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))}
    return Record("Event", number, body)


def open_outbox(folder: Path, quotas: Quotas = SMALL) -> Outbox:
    return Outbox.open(folder, quotas=quotas, stamp=lambda: STAMP)


def group(first: int, count: int = 10) -> Group:
    """Return a group of readings that say which they are."""
    return Group(count, "readings", STAMP, encode(readings(first, count))[0].blob)


def chain(segments: Iterable[Segment], first: int = 1, before: bytes = batch.GENESIS) -> bytes:
    for each in batch.placed(first, before, segments):
        before = each.after
    return before


def sealed(
    segments: Sequence[Segment],
    *,
    first: int = 1,
    before: bytes = batch.GENESIS,
    high: int = 0,
    stream: str = "p3",
    incarnation: str = INCARNATION,
    origin: int = 0,
    signer: Signer = SIGNER,
    **other: Any,
) -> bytes:
    """Return a batch as its node sends it. `high` 0: nothing beyond it was given out."""
    last = first + sum(each.count for each in segments) - 1
    fields: dict[str, Any] = {
        "kind": "batch",
        "v": 1,
        "fleet": FLEET,
        "site": SITE,
        "node": NODE,
        "stream": stream,
        "incarnation": incarnation,
        "origin": origin,
        "high": high or last,
        "first": first,
        "historical": False,
        "before": before,
        "after": chain(segments, first, before),
        "segments": list(segments),
    }
    return batch.seal(Batch(**{**fields, **other}), signer)


def sealed_page(page: Page, stream: str = "p3") -> bytes:
    return sealed(
        page.segments,
        first=page.first,
        before=page.before,
        high=page.high,
        stream=stream,
        incarnation=page.incarnation,
        origin=page.origin,
    )


class Hub:
    """An ingest on a database of its own; `restart` opens the same file again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "readings.db"
        self._open()

    def _open(self) -> None:
        self.database = open_streams(self.path)
        self.store = StreamStore(self.database)
        self.readings = ReadingStore(Reader(self.path))
        self.ingest = Ingest(self.store, lambda site, node: {SIGNER.keyid: SIGNER.public}, fleet=FLEET)

    def restart(self) -> None:
        self.database.close()
        self._open()

    async def take(self, *payloads: bytes, stream: str = "p3") -> list[Taken]:
        return await self.ingest.take([(UP[stream], payload) for payload in payloads])

    async def ack(self, payload: bytes, stream: str = "p3") -> StreamAck:
        ack = (await self.take(payload, stream=stream))[0].ack
        assert ack is not None
        return ack

    async def values(self) -> list[object]:
        """Return every stored value, in the order of their times."""
        return [each.value for each in await self.readings.find(SITE, limit=100_000)]

    async def balance(self) -> list[tuple[int, int, int, int]]:
        """Return sent, stored, tombstoned and pending of each stream, after checking them against the rows."""
        found = []
        for each in await self.store.ledger(SITE):
            assert each.sent == each.stored + each.tombstoned + each.pending
            assert each.pending >= 0
            found.append((each.sent, each.stored, each.tombstoned, each.pending))
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT (SELECT count(*) FROM readings) + (SELECT count(*) FROM records)"
            ).fetchone()
            gaps = connection.execute("SELECT coalesce(sum(last - first + 1), 0) FROM gaps").fetchone()
        assert (rows[0], gaps[0]) == (sum(each[1] for each in found), sum(each[2] for each in found))
        return found


class Wire:
    """A connection that hands what is published to a hub, and the hub's answer back; `chance` loses or repeats either.

    With `budget` set the link is lost after so many messages.
    """

    def __init__(self, hub: Hub, outbox: Outbox, *, seed: int = 0, chance: float = 0.0, budget: int = -1) -> None:
        self.hub = hub
        self.outbox = outbox
        self.batches: list[Batch] = []
        self.taken: list[Taken] = []
        self.listening = True
        self._random = random.Random(seed)
        self._chance = chance
        self._budget = budget

    def _happens(self) -> bool:
        return self._random.random() < self._chance

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: object = ()
    ) -> int:
        if self._budget == 0:
            raise LinkLost("cut")
        self._budget -= 1
        self.batches.append(batch.open_batch(payload, {SIGNER.keyid: SIGNER.public}))
        if not self.listening:
            return 16
        if self._happens():
            return 0  # taken by the broker, and lost there
        address = topics.parse(topic)
        for taken in await self.hub.ingest.take([(address, payload)] * (2 if self._happens() else 1)):
            self.taken.append(taken)
            if taken.ack is not None and not self._happens():
                await self.outbox.acknowledge(taken.ack)
        return 0
