"""The local page over HTTP: what it shows, to whom, and what nobody can do to it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_edge.control import Control, Request
from holdfast_edge.insight import MAX_LOGS, Insight
from holdfast_edge.page import server
from holdfast_edge.page.address import Place
from holdfast_edge.page.server import MAX_CLIENTS, MAX_HEAD, run_page
from holdfast_edge.providers.registry import Registry
from holdfast_edge.store.newest import Newest
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.readings import Reading
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
HOST = "Host: localhost"


class TellingProvider(FakeProvider):
    """Writes logs."""

    text = "one\ntwo\n<script>alert(1)</script>\n"

    async def logs(self, key: ResourceKey, body: dict[str, Any], lines: int) -> str:
        if self.text == "broken":
            raise TransientError("no engine answers", reason="EngineDown")
        return self.text


async def everything(stream: anyio.abc.ByteStream) -> bytes:
    """Return what comes until the end."""
    got = b""
    try:
        while True:
            got += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return got


class Browser:
    """Asks for pages as a browser does, and as none would."""

    def __init__(self, site: TestSite) -> None:
        self.site = site
        self.urls: list[str] = []
        self.notes: list[str] = []

    async def connect(self) -> anyio.abc.SocketStream:
        port = int(self.urls[-1].rpartition(":")[2].strip("/"))
        return await anyio.connect_tcp("127.0.0.1", port)

    async def raw(self, request: bytes) -> bytes:
        async with await self.connect() as stream:
            with suppress(anyio.BrokenResourceError):
                await stream.send(request)
            return await everything(stream)

    async def get(self, target: str, *headers: str, method: str = "GET", host: str = HOST) -> tuple[int, str, bytes]:
        """Return status, head and body."""
        text = "\r\n".join([f"{method} {target} HTTP/1.1", host, *headers, "", ""])
        head, _, body = (await self.raw(text.encode())).partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), body

    async def json(self, target: str) -> Any:
        status, _, body = await self.get(target)
        return status, json.loads(body)


@asynccontextmanager
async def browsing(folder: Path, *, logs: bool = False) -> AsyncIterator[Browser]:
    providers = (FakeProvider("File"), TellingProvider("Pod"))
    it = TestSite(folder, *providers)
    newest = Newest()
    newest.take([Reading("scale", "weight", 1, 12.5, "kg")])
    insight = Insight(it.site, Registry(providers), newest)
    control = Control(it.site, lambda: {"outbox": {}, "link": None}, it.site.wakes.wake, insight)
    browser = Browser(it)

    async def page() -> None:
        def ask(words: dict[str, Any]) -> Any:
            return control.answer(msgspec.convert(words, Request), "page")

        await run_page(Place("127.0.0.1", 0), ask, logs=logs, served=browser.urls.append, note=browser.notes.append)

    async with Running(*it.loops(), page):
        await it.give(a_target(file_body("motd"), {**file_body("press"), "kind": "Pod"}))
        await it.reaches("Converged")
        await eventually(lambda: browser.urls, "the page")
        yield browser
    it.close()


async def test_the_page_and_the_data_under_it_are_there_with_no_hub(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        status, head, body = await browser.get("/")
        assert (status, body[:15]) == (200, b"<!doctype html>")
        for line in (
            "Content-Security-Policy: default-src 'none'; script-src 'sha256-",
            "X-Frame-Options: DENY",
            "no-store",
        ):
            assert line in head
        status, found = await browser.json("/v1/overview")
        assert status == 200
        assert {each["key"] for each in found["status"]["resources"]} == {"File/motd", "Pod/press"}
        assert (found["plan"], found["logs_shown"]) == ([], False)
        assert found["readings"][0]["value"] == 12.5
        assert {(line["key"], line["action"], line["outcome"]) for line in found["journal"]} >= {
            ("File/motd", "create", "done"),
            ("Pod/press", "create", "done"),
        }
        assert (await browser.json("/v1/status"))[1]["status"] == found["status"]
        assert (await browser.json("/v1/readings?device=other"))[1]["readings"] == []


async def test_logs_are_shown_only_where_the_settings_say_so_and_bounded(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        assert (await browser.json("/v1/logs?resource=Pod/press"))[0] == 404
    async with browsing(tmp_path / "open", logs=True) as browser:
        assert (await browser.json("/v1/logs?resource=Pod/press"))[1]["logs"] == TellingProvider.text
        provider = browser.site.providers[1]
        assert isinstance(provider, TellingProvider)
        provider.text = "x" * (MAX_LOGS + 1000)
        assert len((await browser.json("/v1/logs?resource=Pod/press"))[1]["logs"]) == MAX_LOGS
        for resource, reason in (("File/motd", "NoLogs"), ("Pod/other", "NotFound")):
            status, answer = await browser.json(f"/v1/logs?resource={resource}")
            assert (status, answer["error"]["reason"]) == (404, reason)
        provider.text = "broken"
        status, answer = await browser.json("/v1/logs?resource=Pod/press")
        assert (status, answer["error"]["reason"]) == (503, "EngineDown")


@pytest.mark.parametrize("host", ["Host: evil.example", "Host: 127.0.0.1.evil.example:80", "X: y"])
async def test_a_name_that_was_made_to_lead_here_gets_nothing(host: str, tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        for target in ("/", "/v1/overview"):
            status, _, body = await browser.get(target, host=host)
            assert status == 403
            assert b"press" not in body


async def test_another_site_s_page_gets_nothing_and_nothing_can_be_changed(tmp_path: Path) -> None:
    async with browsing(tmp_path) as browser:
        assert (await browser.get("/v1/status", "Sec-Fetch-Site: cross-site"))[0] == 403
        assert (await browser.get("/v1/status", "Sec-Fetch-Site: same-origin"))[0] == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await browser.get("/v1/status", method=method))[0] == 405
        assert (await browser.get("/v1/hold"))[0] == 404
        assert "Access-Control" not in (await browser.get("/v1/status", "Origin: https://evil.example"))[1]
        status, head, body = await browser.get("/", method="HEAD")
        assert (status, body) == (200, b"")
        assert "Content-Length: 0" not in head


async def test_a_request_that_is_none_ends_its_own_connection_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WITHIN", 0.2)
    async with browsing(tmp_path) as browser:
        assert b" 400 " in await browser.raw(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b" 400 " in await browser.raw(b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await browser.raw(b"GET /" + b"a" * (MAX_HEAD + 100)) == b""
        async with await browser.connect() as slow:  # says half a word and waits
            await slow.send(b"GE")
            with pytest.raises(anyio.EndOfStream), anyio.fail_after(HANGS_S):
                await slow.receive()
        assert (await browser.get("/"))[0] == 200


async def test_whoever_takes_all_places_does_not_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WITHIN", 0.5)
    async with browsing(tmp_path) as browser:
        idle = [await browser.connect() for _ in range(MAX_CLIENTS)]
        answers: list[bytes] = []

        async def answered() -> bool:
            answers.append(await browser.raw(f"GET / HTTP/1.1\r\n{HOST}\r\n\r\n".encode()))
            return answers[-1].startswith(b"HTTP/1.1 200")

        with anyio.fail_after(HANGS_S):
            while not await answered():
                await anyio.sleep(0.02)
        for stream in idle:
            await stream.aclose()


async def test_a_place_that_is_taken_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "AGAIN", 0.05)
    notes: list[str] = []
    urls: list[str] = []

    async def ask(words: dict[str, Any]) -> dict[str, Any]:
        return {}

    taken = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = int(taken.extra_attributes[anyio.abc.SocketAttribute.local_port]())

    async def page() -> None:
        await run_page(Place("127.0.0.1", port), ask, logs=False, served=urls.append, note=notes.append)

    async with Running(page):
        await eventually(lambda: notes, "the trouble to be said")
        assert f"no page at http://127.0.0.1:{port}/" in notes[0]
        await taken.aclose()
        await eventually(lambda: urls, "the page, in the end")
        assert notes[-1] == ""


async def test_a_unix_socket_is_for_root_and_the_agent_s_user_and_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "run" / "page.sock"
    urls: list[str] = []

    async def ask(words: dict[str, Any]) -> dict[str, Any]:
        return {"asked": words["do"]}

    for _ in range(2):

        async def page() -> None:
            await run_page(Place(socket=str(path)), ask, logs=False, served=urls.append)

        urls.clear()
        async with Running(page):
            await eventually(lambda: urls, "the page")
            assert path.stat().st_mode & 0o777 == 0o600
            async with await anyio.connect_unix(path) as stream:
                await stream.send(f"GET /v1/plan HTTP/1.1\r\n{HOST}\r\n\r\n".encode())
                assert b'"asked":"plan"' in await everything(stream)
