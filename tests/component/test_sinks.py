"""Readings on their way out of the hub: to a real HTTP server and a real PostgreSQL, each at its own pace."""

import hashlib
import hmac
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from holdfast_hub.blueprint import sink
from holdfast_hub.blueprint.destinations import NATS
from holdfast_hub.blueprint.sink import Spec
from holdfast_hub.operations import apply, sinks
from holdfast_hub.sinks.nats import NATSOutlet
from holdfast_hub.sinks.opening import outlet
from holdfast_hub.sinks.outlet import Labels, Outlet, Refusal, secret
from holdfast_hub.store import sinks as store
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import InputError, TransientError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.wire.readings import Reading
from support import postgresql
from support.builders import SITE
from support.clock import eventually
from support.device_data import Sender
from support.hubs import hub_at, put
from support.postgresql import Server
from support.receiver import Asked, Receiver, Reply
from support.sinks import START, document, drained, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


class Hook:
    """Takes a webhook's requests."""

    def __init__(self) -> None:
        self.readings: list[dict[str, Any]] = []
        self.statuses: list[int] = []  # of the next answers; 200 after them
        self.poison = ""  # a text with which a body is unfit
        self.server = Receiver(self._answer)
        self.url = f"http://127.0.0.1:{self.server.port}/in?x=1"

    def _answer(self, asked: Asked) -> Reply:
        status = self.statuses.pop(0) if self.statuses else 200
        if self.poison and self.poison in asked.body.decode():
            status = 422
        if status == 200:
            self.readings += json.loads(asked.body)["readings"]
        return Reply(status)


@pytest.fixture
def receiver() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.close()


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with postgresql.running() as server:
        yield server


async def test_a_webhook_gets_every_reading_signed(tmp_path: Path, receiver: Hook) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}', secretFile: {secret}}}")) as hub:
        Sender(hub).send(*readings(0, 5), Reading("press", "state", START, "on", unit="x"))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.sent, view.refused, view.skipped) == (6, 0, 0)
        await eventually(lambda: hub.sinks["lake"].state == "Waiting")
    assert [(each["sequence"], each["value"]) for each in receiver.readings] == [
        *((n + 1, n) for n in range(5)),
        (6, "on"),
    ]
    assert {(each["site"], each["node"], each["stream"]) for each in receiver.readings} == {(SITE, "node-1", "p3")}
    _, headers, body = receiver.server.asked[0]
    moment, signature = (part.split("=")[1] for part in headers["holdfast-signature"].split(","))
    assert signature == hmac.new(b"sesame", moment.encode() + b"." + body, hashlib.sha256).hexdigest()


@pytest.mark.invariant("commit-before-ack")
async def test_what_a_webhook_did_not_take_comes_again_and_nothing_is_missing(tmp_path: Path, receiver: Hook) -> None:
    receiver.statuses = [503, 500, 429, 401]
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}'}}", batch=2)) as hub:
        sender = Sender(hub)
        for n in range(0, 10, 2):
            sender.send(*readings(n, 2))
        with anyio.fail_after(HANGS_S):
            await drained(hub)
    assert [each["value"] for each in receiver.readings] == list(range(10))


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_reading_the_other_side_never_takes_is_counted_and_passed(tmp_path: Path, receiver: Hook) -> None:
    receiver.poison = "poison"
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}'}}")) as hub:
        Sender(hub).send(*readings(0, 5), Reading("press", "u", START, "poison"), *readings(6, 3))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.sent, view.refused) == (8, 1)
    assert len(receiver.readings) == 8


async def test_a_sink_is_given_the_sites_of_its_placement_and_what_comes_after_it(
    tmp_path: Path, receiver: Hook
) -> None:
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}'}}", zone="east")) as hub:
        Sender(hub).send(*readings(0, 3))
        Sender(hub, "east-1").send(*readings(100, 3))
        with anyio.fail_after(HANGS_S):
            assert (await drained(hub)).sent == 3
    assert {each["site"] for each in receiver.readings} == {"east-1"}


class Broken:
    """A destination that is down for good."""

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        raise TransientError("down", reason="Unreachable")

    async def close(self) -> None:
        pass


async def test_a_broken_sink_holds_up_no_other_and_says_why(tmp_path: Path, receiver: Hook) -> None:
    def open_outlet(name: str, spec: Spec, clock: Clock, labels: Labels) -> Outlet:
        return Broken() if name == "broken" else outlet(name, spec, clock, labels)

    hook = f"webhook: {{url: '{receiver.url}'}}"
    async with working(tmp_path, document("lake", hook), document("broken", hook), open_outlet=open_outlet) as hub:
        Sender(hub).send(*readings(0, 5))
        with anyio.fail_after(HANGS_S):
            await drained(hub)
            await eventually(lambda: hub.sinks["broken"].failures > 2)
        shown = await sinks.show_sink(hub, "broken")
        assert (shown.state, shown.lag, shown.sent, shown.message) == ("Failing", 5, 0, "Unreachable: down")


async def test_a_sink_that_reaches_nobody_says_whom_and_what_to_look_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with working(tmp_path, document("lake", f"webhook: {{url: 'http://127.0.0.1:{port}/x'}}")) as hub:
        Sender(hub).send(*readings(0, 1))
        with anyio.fail_after(HANGS_S):
            await eventually(lambda: hub.sinks["lake"].failures > 0)
        shown = await sinks.show_sink(hub, "lake")
    assert shown.message == (
        f"Unreachable: 127.0.0.1:{port}: nothing listens there (is it running, and is this its address?)"
    )


async def test_a_sink_goes_on_where_it_was_after_a_restart(tmp_path: Path, receiver: Hook) -> None:
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}'}}")) as hub:
        sender = Sender(hub)
        sender.send(*readings(0, 3))
        with anyio.fail_after(HANGS_S):
            await drained(hub)
    with hub_at(tmp_path) as idle:  # nobody sends; the hub stores
        sender.hub = idle
        sender.send(*readings(3, 3))
    async with working(tmp_path) as hub:
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert view.sent == 6
    assert [each["value"] for each in receiver.readings] == list(range(6))


async def test_nothing_is_kept_for_sinks_that_are_gone(tmp_path: Path, receiver: Hook) -> None:
    receiver.statuses = [503] * 10_000
    async with working(tmp_path, document("lake", f"webhook: {{url: '{receiver.url}'}}")) as hub:
        Sender(hub).send(*readings(0, 3))
        await apply.delete_object(hub, "Sink", "lake", author="ann")
        await eventually(lambda: not hub.sinks)

        def kept() -> tuple[int, int]:
            with hub.streams.database.reading() as connection:
                row = connection.execute("SELECT (SELECT count(*) FROM arrivals), (SELECT count(*) FROM sinks)")
                found: tuple[int, int] = row.fetchone()
                return found

        assert kept() == (0, 0)
        Sender(hub, "east-1").send(*readings(0, 3))
        assert kept() == (0, 0)


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_sink_too_far_behind_skips_the_oldest_and_counts_them(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        with hub.streams.database.transaction() as connection:
            store.begin(connection, "lake", 1)
        sender = Sender(hub)
        for n in range(5):
            sender.send(*readings(n, 1))
        with hub.streams.database.transaction() as connection:
            store.skip_oldest(connection, kept=2)
            (found,) = store.progress(connection)
            assert (found.skipped, found.groups) == (3, 2)
            taken = store.take(connection, "lake", None, 100)
        assert taken is not None
        assert [each.row.value for each in taken.entries] == [3, 4]


async def test_a_credential_without_an_end_is_the_failure_of_one_sink(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none"):
        with anyio.fail_after(HANGS_S), pytest.raises(TransientError) as found:
            await secret(str(path))
        assert found.value.reason == "NoSecret"


async def test_a_connection_that_breaks_while_it_is_let_go_ends_no_loop() -> None:
    class Gone:
        async def close(self) -> None:
            raise ConnectionResetError

    held = NATSOutlet("lake", NATS(("nats://127.0.0.1:9",)))
    held._client = Gone()
    await held.close()
    assert held._client is None


async def rows(server: Server, query: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(server.connection) as connection:
        return await (await connection.execute(query)).fetchall()


async def test_postgresql_has_each_reading_once_however_often_it_is_sent(tmp_path: Path, database: Server) -> None:
    spec = f"postgresql: {{connection: '{database.connection}', table: once}}"
    hostile = "'; DROP TABLE once; --\0"
    given = [
        *readings(0, 3),
        Reading("a", "b", START, hostile),
        Reading("a", "c", START, True),
        Reading("a", "d", -5, 0.5),
    ]
    async with working(tmp_path, document("lake", spec)) as hub:
        Sender(hub).send(*given)
        with anyio.fail_after(HANGS_S):
            await drained(hub)
        with hub.streams.database.transaction() as connection:
            taken = connection.execute("SELECT count(*) FROM readings").fetchone()
            connection.execute("UPDATE sinks SET position = 0")
            connection.execute(
                "INSERT INTO arrivals (stream, first, last, since, until)"
                " SELECT stream, first, last, since, until FROM segments"
            )
        with anyio.fail_after(HANGS_S):
            while (await sinks.show_sink(hub, "lake")).sent < 12:
                await anyio.sleep(0.01)
    assert taken == (6,)
    found = await rows(
        database, "SELECT sequence, metric, number, integer, text, milliseconds, time, kind FROM once ORDER BY 1"
    )
    assert [row[:6] for row in found] == [
        (1, "t", 0.0, 0, None, START),
        (2, "t", 1.0, 1, None, START + 1),
        (3, "t", 2.0, 2, None, START + 2),
        (4, "b", None, None, hostile.replace("\0", "\N{REPLACEMENT CHARACTER}"), START),
        (5, "c", 1.0, None, None, START),
        (6, "d", 0.5, None, None, -5),
    ]
    assert [row[7] for row in found] == ["int", "int", "int", "text", "bool", "float"]
    assert found[1][6].timestamp() == pytest.approx((START + 1) / 1000)


async def test_a_postgresql_that_goes_away_and_comes_back_misses_nothing(tmp_path: Path, database: Server) -> None:
    spec = f"postgresql: {{connection: '{database.connection}', table: back}}"
    async with working(tmp_path, document("lake", spec)) as hub:
        sender = Sender(hub)
        sender.send(*readings(0, 3))
        with anyio.fail_after(HANGS_S):
            await drained(hub)
            await anyio.to_thread.run_sync(database.stop)
            sender.send(*readings(3, 3))
            await eventually(lambda: hub.sinks["lake"].failures)
            await anyio.to_thread.run_sync(database.start)
            view = await drained(hub)
        assert (view.sent, view.failures) == (6, 0)
    assert await rows(database, "SELECT count(*), count(DISTINCT sequence) FROM back") == [(6, 6)]


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_text_that_a_database_cannot_hold_is_counted_and_passed(tmp_path: Path, database: Server) -> None:
    async with await psycopg.AsyncConnection.connect(database.connection, autocommit=True) as connection:
        await connection.execute("CREATE DATABASE narrow ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    narrow = database.connection.replace("dbname=postgres", "dbname=narrow")
    given = [*readings(0, 3), Reading("press", "r", START, 1, unit="\N{GREEK CAPITAL LETTER OMEGA}"), *readings(4, 3)]
    async with working(tmp_path, document("lake", f"postgresql: {{connection: '{narrow}', table: some}}")) as hub:
        Sender(hub).send(*given, Reading("press", "c", START, 21, unit="\N{DEGREE SIGN}C"))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.sent, view.refused) == (7, 1)
        assert "LATIN1" in view.refusal


@pytest.mark.parametrize("destination", ["postgresql: {connection: 'host=a..b'}", "webhook: {url: 'http://a..b/'}"])
async def test_a_host_that_cannot_be_is_the_failure_of_one_sink(tmp_path: Path, destination: str) -> None:
    async with working(tmp_path, document("lake", destination)) as hub:
        Sender(hub).send(*readings(0, 1))
        with anyio.fail_after(HANGS_S):
            await eventually(lambda: hub.sinks["lake"].failures > 1)
        assert hub.sinks["lake"].reason == "Unreachable"


@pytest.mark.parametrize(
    ("spec", "at"),
    [
        ({}, ()),
        ({"webhook": {"url": "http://a"}, "postgresql": {"connection": "x"}}, ()),
        ({"webhook": {"url": "ftp://a"}}, ("webhook", "url")),
        ({"webhook": {"url": "http://u:p@a"}}, ("webhook", "url")),
        ({"webhook": {"url": "http://[::1"}}, ("webhook", "url")),
        ({"webhook": {"url": "http://a\r\nx: y"}}, ("webhook", "url")),
        ({"webhook": {"url": "http://a", "secretFile": "x"}}, ("webhook", "secretFile")),
        ({"webhook": {"url": "http://a", "wrong": 1}}, ("webhook", "wrong")),
        ({"webhook": {"url": "http://a"}, "batch": 0}, ("batch",)),
        ({"postgresql": {"connection": "host=a password=b"}}, ("postgresql", "connection")),
        ({"postgresql": {"connection": "postgresql://u:p@h/db"}}, ("postgresql", "connection")),
        ({"postgresql": {"connection": "host=a", "table": "a; drop"}}, ("postgresql", "table")),
        ({"postgresql": {"connection": "host=a", "timeoutSeconds": 0}}, ("postgresql", "timeoutSeconds")),
    ],
    ids=str,
)
def test_a_sink_that_cannot_be_is_refused_at_its_place(spec: dict[str, Any], at: tuple[str, ...]) -> None:
    assert [each.path for each in sink.flaws(spec)] == [at]


async def test_a_refused_sink_changes_nothing(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        with pytest.raises(InputError, match="webhook"):
            await put(hub, document("lake", "webhook: {url: nowhere}"))
        assert await sinks.list_sinks(hub) == []
