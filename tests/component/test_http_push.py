"""Devices push over HTTP: 202 says durable; strangers, floods, full disks and slow senders are answered or ended."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest

from holdfast_edge.ingest import http_server
from holdfast_edge.ingest.http_server import MAX_CONNECTIONS
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.readings import Reading
from holdfast_protocol.wire.target import Resource
from support.certificates import Authority
from support.clock import eventually
from support.devices import stored_readings
from support.mosquitto import free_port
from support.sources import Site, running_sources, secret, source
from support.streams import open_outbox
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
ONE = {"device": "p1", "metric": "t", "value": 21.5, "time": 5, "unit": "Cel"}


@asynccontextmanager
async def listening(
    folder: Path, outbox: Any, *others: Resource, http: dict[str, Any] | None = None, **spec: Any
) -> AsyncIterator[tuple[int, Site]]:
    port = free_port()
    resource = source("push", http={"port": port, **(http or {})}, **spec)
    async with running_sources(folder / "sources", outbox) as site:
        await site.apply(resource, *others)
        await eventually(lambda: site.is_connected("push"))
        yield port, site


async def post(
    port: int,
    body: Any,
    path: str = "/v1/readings",
    tls: ssl.SSLContext | None = None,
    method: str = "POST",
    **headers: str,
) -> tuple[int, Any, str]:
    """Return status, answer and head."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: site", f"Content-Length: {len(raw)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return await exchange(port, "\r\n".join([*lines, "", ""]).encode() + raw, tls)


async def exchange(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> tuple[int, Any, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write(request)
        head, _, text = (await asyncio.wait_for(reader.read(), HANGS_S)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split()[1]), json.loads(text), head.decode()


@pytest.mark.invariant("commit-before-ack")
async def test_what_is_answered_202_is_durable_in_every_format(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        assert (await post(port, ONE))[:2] == (202, {"accepted": True})
        assert outbox.depth()["p3"].rows == 1
        assert (await post(port, [ONE, {**ONE, "metric": "u", "value": True}], Content_Type="application/json"))[
            0
        ] == 202
        assert (await post(port, cbor2.dumps([ONE]), Content_Type="application/cbor"))[0] == 202
        lines = b"device,metric,value,time\np1,t,7,9\np1,s,open,\n"
        assert (await post(port, lines, Content_Type="text/csv; charset=utf-8"))[0] == 202
        assert outbox.depth()["p3"].rows == 6
    found = await stored_readings(outbox)
    assert found[0] == Reading("p1", "t", 5, 21.5, "Cel")
    assert [each.value for each in found[-2:]] == [7, "open"]
    outbox.close()


async def test_a_push_with_a_key_that_is_sent_again_is_stored_once(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        for _ in range(3):
            assert (await post(port, ONE, Idempotency_Key="a1"))[0] == 202
    async with running_sources(tmp_path / "sources", outbox) as site:  # also after the agent was killed
        await eventually(lambda: site.is_connected("push"))
        assert (await post(port, ONE, Idempotency_Key="a1"))[0] == 202
        assert (await post(port, ONE, Idempotency_Key="a2"))[0] == 202
    assert outbox.depth()["p3"].rows == 2
    outbox.close()


@pytest.mark.parametrize(
    ("body", "path", "headers", "status", "reason"),
    [
        (b"{", "/v1/readings", {}, 422, "BadJson"),
        ({**ONE, "device": "a b"}, "/v1/readings", {}, 422, "BadName"),
        ({**ONE, "x": 1}, "/v1/readings", {}, 422, "UnknownField"),
        ([], "/v1/readings", {}, 422, "Empty"),
        (ONE, "/v1/other", {}, 404, "NotFound"),
        (ONE, "/v1/readings/a/b", {}, 404, "NotFound"),
        (ONE, "/v1/readings", {"method": "PUT"}, 405, "BadMethod"),
        (ONE, "/v1/readings", {"Content_Type": "image/png"}, 415, "BadFormat"),
        (b"x" * 300_000, "/v1/readings", {}, 413, "TooLarge"),
        (ONE, "/v1/readings", {"X": "y" * 20_000}, 431, "TooLarge"),
    ],
)
async def test_what_is_no_reading_is_refused_with_its_reason(
    tmp_path: Path, body: Any, path: str, headers: dict[str, str], status: int, reason: str
) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        found = await post(port, body, path, **headers)
        assert (found[0], found[1]["error"]["reason"]) == (status, reason)
        assert (await post(port, ONE))[0] == 202
    outbox.close()


async def test_rules_take_the_topic_from_the_path_and_a_flood_is_asked_to_wait(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    rules = [{"match": "{area}/{device}", "metric": "t", "value": "${payload.v}"}]
    async with listening(tmp_path, outbox, rules=rules, limits={"perDevice": 0.001, "burst": 2}) as (port, _):
        assert (await post(port, {"v": 1}, "/v1/readings/hall%20a/p1"))[0] == 202
        assert (await post(port, {"w": 1}, "/v1/readings/hall/p1"))[1]["error"]["place"] == "spec.rules[0].value"
        assert (await post(port, {"v": 2}, "/v1/readings/hall/p1"))[0] == 202
        status, answer, head = await post(port, {"v": 3}, "/v1/readings/hall/p1")
        assert (status, answer["error"]["reason"]) == (429, "Flood")
        assert "Retry-After: 1" in head
    outbox.close()


@pytest.mark.parametrize("way", ["token", "login"])
async def test_only_those_who_know_the_secret_are_heard(tmp_path: Path, way: str) -> None:
    outbox, keys = open_outbox(tmp_path), secret("keys", word="s3cret\n")
    word = {"secret": "keys", "key": "word"}
    http = {"token": word} if way == "token" else {"username": "press", "password": word}
    right = "Bearer s3cret" if way == "token" else f"Basic {base64.b64encode(b'press:s3cret').decode()}"
    async with listening(tmp_path, outbox, keys, http=http) as (port, _):
        for given in ("", "Bearer s3cre", "Basic !!", f"Basic {base64.b64encode(b'press:').decode()}"):
            status, answer, head = await post(port, ONE, **({"Authorization": given} if given else {}))
            assert (status, answer["error"]["reason"]) == (401, "Unauthorized")
            assert "WWW-Authenticate" in head
        assert (await post(port, ONE, Authorization=right))[0] == 202
    outbox.close()


async def test_pushing_over_tls(tmp_path: Path) -> None:
    outbox, authority = open_outbox(tmp_path), Authority()
    pair = authority.pair("127.0.0.1")
    keys = secret("keys", cert=pair.cert, key=pair.key)
    tls = {"cert": {"secret": "keys", "key": "cert"}, "key": {"secret": "keys", "key": "key"}}
    async with listening(tmp_path, outbox, keys, http={"tls": tls}) as (port, _):
        context = ssl.create_default_context(cadata=authority.cert)
        assert (await post(port, ONE, tls=context))[0] == 202
    outbox.close()


async def test_while_nothing_can_be_stored_pushers_are_told_to_come_again(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    full = Full(outbox)
    async with listening(tmp_path, full) as (port, site):
        first = asyncio.create_task(post(port, ONE))
        await eventually(lambda: any(each.phase == "waiting" for each in site.sources.states.values()))
        status, answer, head = await post(port, ONE)
        assert (status, answer["error"]["reason"]) == (503, "Full")
        assert "Retry-After: 5" in head
        full.room = True
        assert (await first)[0] == 202
    assert outbox.depth()["p3"].rows == 1
    outbox.close()


class Full:
    """An outbox on a full disk, until `room`."""

    room = False

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.cursor = outbox.cursor
        self.append_records = outbox.append_records

    async def append_readings(self, *arguments: Any, **fields: Any) -> None:
        if not self.room:
            raise TransientError("no space left", reason="DiskFull", after=0.01)
        await self._outbox.append_readings(*arguments, **fields)


async def test_no_more_connections_than_allowed_are_open_at_a_time(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        status, answer, _ = await exchange(port, b"")
        assert (status, answer["error"]["reason"]) == (503, "Busy")
        for _, writer in held:
            writer.close()

        async def taken() -> bool:
            return (await post(port, ONE))[0] == 202

        await eventually(taken, "their places to be free")
    outbox.close()


async def test_slow_and_silent_connections_end_and_do_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "WITHIN", 0.05)
    monkeypatch.setattr(http_server, "IDLE", 0.2)
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for _, writer in slow[:10]:
            writer.write(b"POST /v1/readings HTTP/1.1\r\nContent-Length: 9\r\n")
        for reader, writer in slow:
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), HANGS_S) == b""
            writer.close()
        monkeypatch.undo()
        assert (await post(port, ONE))[0] == 202
    outbox.close()


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 100, b"GET\r\n\r\n", b"POST /v1/readings HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_not_http_is_answered_and_ended(tmp_path: Path, rubbish: bytes) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        assert (await exchange(port, rubbish))[0] == 400
    outbox.close()


async def test_one_connection_pushes_many_times_and_chunks_are_bounded_too(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        raw = json.dumps(ONE).encode()
        for _ in range(5):
            writer.write(b"POST /v1/readings HTTP/1.1\r\nHost: s\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw))
            assert b"202 Accepted" in await asyncio.wait_for(reader.readuntil(b'{"accepted":true}'), HANGS_S)
        writer.close()
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        request = b"POST /v1/readings HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n" + 6 * chunk
        assert (await exchange(port, request))[0] == 413
        assert outbox.depth()["p3"].rows == 5
    outbox.close()


async def test_who_would_speak_something_newer_is_told_what_is_spoken(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        body = json.dumps(ONE).encode()
        offer = "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
        head = f"POST /v1/readings HTTP/1.1\r\nHost: site\r\nContent-Length: {len(body)}\r\n{offer}\r\n\r\n"
        status, answer, _ = await exchange(port, head.encode() + body)
        assert (status, answer["error"]["reason"]) == (400, "Upgrade")
    outbox.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_push_with_a_key_that_was_rejected_is_not_called_stored_when_it_is_sent_again(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox, limits={"perDevice": 0.001, "burst": 1}) as (port, _):
        statuses = [(await post(port, ONE, Idempotency_Key=key))[0] for key in ("a1", "a2", "a2", "a1")]
        statuses += [(await post(port, b"{", Idempotency_Key="a3"))[0] for _ in range(2)]
    assert statuses == [202, 429, 429, 202, 422, 422]
    assert outbox.depth()["p3"].rows == 1
    outbox.close()


async def test_bodies_that_arrive_at_once_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_HELD", 5_000)
    body = json.dumps([{**ONE, "time": number} for number in range(40)]).encode()
    assert 2_500 < len(body) < 5_000

    async def until(status: int, port: int) -> None:
        async with asyncio.timeout(HANGS_S):
            while (await post(port, body))[0] != status:
                await asyncio.sleep(0.01)

    outbox = open_outbox(tmp_path)
    async with listening(tmp_path, outbox) as (port, _):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/readings HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:-1])
        await until(503, port)
        writer.close()
        await until(202, port)
        for _ in range(3):
            assert (await post(port, body))[0] == 202, "what was committed is held no more"
    outbox.close()
