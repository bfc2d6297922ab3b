"""The outbox against a model of it in plain lists: appended, dropped, acknowledged, read, forked, killed, reopened."""

import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast_edge.store import outbox_pages
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Page, Quotas
from holdfast_protocol.wire import batch
from holdfast_protocol.wire.batch import Group
from holdfast_protocol.wire.contents import Readings, Records, contents
from holdfast_protocol.wire.messages import StreamAck
from holdfast_protocol.wire.topics import STREAM_CLASSES
from support.streams import open_outbox, readings, record

QUOTAS = Quotas(p0=1_000_000, p1=8_000, p2=6_000, p3=6_000, ballast=0, file=4 * 1024 * 1024)
T = TypeVar("T")


class Row:
    """What the model knows of one sequence."""

    def __init__(self, number: int, key: str = "") -> None:
        self.number = number
        self.key = key


class OutboxModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.outbox: Outbox = open_outbox(self.folder / "0", QUOTAS)
        self.opened = 0
        self.number = 0
        self.rows: dict[str, list[Row]] = {name: [] for name in STREAM_CLASSES}  # sequence n is at n - 1
        self.acked = dict.fromkeys(STREAM_CLASSES, 0)
        self.anchors = dict.fromkeys(STREAM_CLASSES, batch.GENESIS)
        self.incarnations = {name: state.incarnation for name, state in self.outbox.states().items()}
        self.used = set(self.incarnations.values())
        self.cursor = b""
        self.told: dict[tuple[str, int], int] = {}  # numbers of sequences that may have been sent
        self.gone: set[int] = set()  # numbers of p3 that were acknowledged

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], *values: Any, **named: Any) -> T:
        async def call() -> T:
            return await function(*values, **named)

        return anyio.run(call)

    @rule(count=st.integers(1, 30), text=st.sampled_from([0, 0, 50, 400]))
    def append_readings(self, count: int, text: int) -> None:
        self.cursor = b"%d" % self.number
        self.run(self.outbox.append_readings, readings(self.number, count, text=text), cursors={"devices": self.cursor})
        self.rows["p3"] += [Row(self.number + n) for n in range(count)]
        self.number += count

    @rule(stream=st.sampled_from(["p0", "p2"]), count=st.integers(1, 5), size=st.sampled_from([0, 300, 1500]))
    def append_records(self, stream: str, count: int, size: int) -> None:
        records = [record(self.number + n, size) for n in range(count)]
        self.run(self.outbox.append_records, stream, records)
        self.rows[stream] += [Row(self.number + n) for n in range(count)]
        self.number += count

    @rule(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=4), size=st.sampled_from([0, 300]))
    def append_states(self, keys: list[str], size: int) -> None:
        self.run(
            self.outbox.append_records,
            "p1",
            [record(self.number + n, size) for n in range(len(keys))],
            keys=keys,
        )
        self.rows["p1"] += [Row(self.number + n, key) for n, key in enumerate(keys)]
        self.number += len(keys)

    def pages(self, stream: str) -> list[Page]:
        """Return what is held as it would be sent; from now on it may have been."""
        found = self.seen(stream, self.outbox.read)
        if stream in ("p2", "p3"):
            for page in found:
                self.told |= {(stream, sequence): number for sequence, number in numbered(page).items()}
        return found

    def looked_at(self, stream: str) -> list[Page]:
        """Return what is held, and tell nobody."""

        async def look(name: str, first: int, upto: int) -> Page | None:
            with self.outbox._database.reading() as connection:
                return outbox_pages.read(connection, self.outbox._writer.streams[name], first, upto)

        return self.seen(stream, look)

    def seen(self, stream: str, read: Callable[..., Coroutine[Any, Any, Page | None]]) -> list[Page]:
        found = []
        at = self.acked[stream] + 1
        while page := self.run(read, stream, at, len(self.rows[stream])):
            assert page.first <= at <= page.last
            found.append(page)
            at = page.last + 1
        return found

    def ack(self, page: Page, stream: str, **other: Any) -> StreamAck:
        fields: dict[str, Any] = {"upto": page.last, "high": page.last, "chain": page.after.hex()}
        return StreamAck(stream=stream, incarnation=page.incarnation, **{**fields, **other})

    @rule(stream=st.sampled_from(STREAM_CLASSES), part=st.floats(0, 1))
    def acknowledge(self, stream: str, part: float) -> None:
        """What was read is acknowledged, after more may have come and tombstones may have grown over its end."""
        pages = self.pages(stream)
        if pages:
            page = pages[int(part * (len(pages) - 1))]
            if stream == "p1":
                self.append_states(["a", "b", "c"] * 2, 0)
            self.run(self.outbox.acknowledge, self.ack(page, stream))
            self.acked[stream], self.anchors[stream] = page.last, page.after
            if stream == "p3":
                self.gone |= {n for (name, at), n in self.told.items() if name == stream and at <= page.last}

    @rule(
        stream=st.sampled_from(STREAM_CLASSES),
        what=st.sampled_from(["chain", "incarnation", "beyond", "stale", "nowhere"]),
    )
    def acknowledge_wrongly(self, stream: str, what: str) -> None:
        pages = self.pages(stream)
        if not pages:
            return
        page = pages[0]
        match what:
            case "chain":
                ack = self.ack(page, stream, chain="ab" * 32)
            case "incarnation":
                ack = StreamAck(stream, "ab" * 16, page.last, chain=page.after.hex())
            case "beyond":
                ack = self.ack(page, stream, upto=len(self.rows[stream]) + 1)
            case "stale":
                ack = self.ack(page, stream, upto=self.acked[stream], chain="")
            case _:
                ack = self.ack(page, stream, chain="")
        self.run(self.outbox.acknowledge, ack)

    @rule(stream=st.sampled_from(STREAM_CLASSES), agreed=st.booleans())
    def fork(self, stream: str, agreed: bool) -> None:
        pages = self.pages(stream)
        if not pages:
            return
        if stream == "p1":
            self.append_states(["a", "b", "c"] * 2, 0)
        ack = self.ack(pages[0], stream, fork=True)
        if not agreed:
            ack = self.ack(pages[0], stream, fork=True, upto=0, chain="")
        self.run(self.outbox.acknowledge, ack)
        if agreed:
            self.acked[stream], self.anchors[stream] = pages[0].last, pages[0].after
        state = self.outbox.states()[stream]
        assert state.incarnation not in self.used
        self.used.add(state.incarnation)
        self.incarnations[stream] = state.incarnation

    @rule()
    def settle(self) -> None:
        """The link is gone."""
        self.run(self.outbox.settle)

    @rule()
    def kill(self) -> None:
        """The files as they are at a kill -9 are all that is left."""
        self.opened += 1
        shutil.copytree(self.folder / str(self.opened - 1), self.folder / str(self.opened))
        self.outbox.close()
        self.outbox = open_outbox(self.folder / str(self.opened), QUOTAS)

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = open_outbox(self.folder / str(self.opened), QUOTAS)

    @rule(stream=st.sampled_from(STREAM_CLASSES))
    @precondition(lambda self: any(self.acked.values()))
    def ask_again_for_what_is_gone(self, stream: str) -> None:
        state = self.outbox.states()[stream]
        page = self.run(self.outbox.read, stream, 1, len(self.rows[stream]))
        if page is None:
            assert state.high == self.acked[stream] or not self.rows[stream]
            return
        assert page.origin < page.first <= max(page.origin + 1, 1)
        assert list(batch.placed(page.first, page.before, page.segments))[-1].after == page.after
        if page.first <= self.acked[stream] and page.before == b"":
            assert page.segments[0].reason == "Released"  # type: ignore[union-attr]

    @invariant()
    def every_sequence_is_held_or_tombstoned_once(self) -> None:
        for stream in STREAM_CLASSES:
            state = self.outbox.states()[stream]
            assert state.incarnation == self.incarnations[stream]
            assert (state.acked, state.high) == (self.acked[stream], len(self.rows[stream]))
            held = self.held(stream)
            depth = self.outbox.depth()[stream]
            assert depth.rows == len(held)
            assert depth.bytes <= QUOTAS.of(stream)
            assert (depth.oldest > 0) == bool(held)
            model = self.rows[stream]
            if stream == "p3":  # what nobody was told may change places
                assert len(set(held.values())) == len(held)
                assert set(held.values()) <= {row.number for row in model} - self.gone
            else:
                assert all(model[sequence - 1].number == number for sequence, number in held.items())
            told = {sequence: number for (name, sequence), number in self.told.items() if name == stream}
            assert all(held[sequence] == number for sequence, number in told.items() if sequence in held)
            dropped = set(range(self.acked[stream] + 1, len(model) + 1)) - held.keys()
            if stream == "p0":
                assert not dropped
            elif stream == "p1":
                newest = {row.key: sequence for sequence, row in enumerate(model, 1)}
                assert all(newest[model[sequence - 1].key] > sequence for sequence in dropped)
            elif dropped and held and stream == "p2":
                assert max(dropped) < min(held)  # oldest first
        assert self.outbox.cursor("devices") == self.cursor

    def held(self, stream: str) -> dict[int, int]:
        """Return the number of the row at each sequence still held, after checking that what is read has no hole."""
        held: dict[int, int] = {}
        at, chain = self.acked[stream] + 1, self.anchors[stream]
        for page in self.looked_at(stream):
            if at == self.acked[stream] + 1 and page.first < at:  # a tombstone that grew over what was acknowledged
                assert page.origin < page.first
            else:
                assert (page.first, page.before) == (at, chain)
            for each in batch.placed(page.first, page.before, page.segments):
                if isinstance(each.segment, Group):
                    (content,) = contents([each.segment])
                    held |= dict(enumerate(numbers(content), each.first))
                chain = each.after
            assert chain == page.after
            at = page.last + 1
        assert at == len(self.rows[stream]) + 1
        return held

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)


def numbered(page: Page) -> dict[int, int]:
    """Return the number at each sequence of a page."""
    found: dict[int, int] = {}
    for each in batch.placed(page.first, page.before, page.segments):
        if isinstance(each.segment, Group):
            (content,) = contents([each.segment])
            found |= dict(enumerate(numbers(content), each.first))
    return found


def numbers(content: object) -> list[int]:
    if isinstance(content, Readings):
        return [int(str(value).split()[0]) for series in content.series for value in series.values]
    assert isinstance(content, Records)
    return [each.body["n"] for each in content.records]


OutboxModel.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@pytest.mark.invariant("every-loss-is-counted")
class TestOutboxModel(OutboxModel.TestCase):  # type: ignore[valid-type,misc]
    """Any sequence of what can happen leaves every sequence number held, tombstoned or acknowledged, exactly one of them."""
