"""Server: the page and the data under it, read-only, over HTTP/1.1 on the machine itself; one answer a connection."""

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast_edge.page.address import Place, is_ours
from holdfast_edge.page.document import Document
from holdfast_edge.page.requests import BadRequest, Request, read, wanted
from holdfast_protocol.errors import HoldfastError

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]  # what `Control.answer` answers
MAX_HEAD: Final = 8 * 1024  # bytes of a request
MAX_CLIENTS: Final = 16
WITHIN: Final = 20.0  # seconds for one request and its answer
AGAIN: Final = 30.0  # seconds after a place could not be had
_STATUS: Final = {
    "NotFound": 404,
    "NoLogs": 404,
    "NoSuchPage": 404,
    "BadRequest": 400,
    "Elsewhere": 403,
    "ReadOnly": 405,
}
_WORDS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"
_ALWAYS: Final = (
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "X-Frame-Options: DENY",
    "Cross-Origin-Resource-Policy: same-origin",
    "Cross-Origin-Opener-Policy: same-origin",
    "Connection: close",
)


async def run_page(
    where: Place,
    ask: Ask,
    *,
    logs: bool,
    served: Callable[[str], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve for ever; `logs`: whether what workloads wrote is shown; `served` is told the address, `note` why there is no
    page ("": there is one). A place that cannot be had is tried again."""
    page = _Page(ask, Document.load(), logs=logs)
    while True:
        try:
            listener = await _listener(where)
        except OSError as error:
            note(f"there is no page at {where.url(where.port)}: {error.strerror or error}")
            await anyio.sleep(AGAIN)
            continue
        async with listener:
            note("")
            port = 0 if where.socket else listener.extra_attributes[SocketAttribute.local_port]()
            served(where.url(port))
            await listener.serve(page.serve)


async def _listener(where: Place) -> Any:
    if not where.socket:
        return await anyio.create_tcp_listener(local_host=where.host, local_port=where.port)
    path = anyio.Path(where.socket)
    await path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if await path.exists() and stat.S_ISSOCK((await path.lstat()).st_mode):  # of an agent that was killed
        await path.unlink()
    return await anyio.create_unix_listener(Path(os.fspath(path)), mode=0o600)


class _Page:
    def __init__(self, ask: Ask, document: Document, *, logs: bool) -> None:
        self._ask = ask
        self._document = document
        self._logs = logs
        self._clients = 0

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if self._clients >= MAX_CLIENTS:
                return
            self._clients += 1
            try:
                with anyio.move_on_after(WITHIN):
                    head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", MAX_HEAD)
                    await stream.send(await self._answer(head))
            except (
                anyio.ClosedResourceError,
                anyio.EndOfStream,
                anyio.IncompleteRead,
                anyio.DelimiterNotFound,
                anyio.BrokenResourceError,
            ):
                return  # whoever asked has gone, or has asked for nothing a browser asks for
            finally:
                self._clients -= 1

    async def _answer(self, head: bytes) -> bytes:
        with_body = True
        try:
            request = read(head)
            with_body = request.method == "GET"
            _check(request)
            if request.path == "/":
                return _response(200, self._document.html, "text/html; charset=utf-8", self._document.policy, with_body)
            body = await self._ask(wanted(request, logs=self._logs))
            body["logs_shown"] = self._logs
            return _response(200, msgspec.json.encode(body), "application/json", "", with_body)
        except BadRequest as error:
            return _refusal(error.reason, error.message, "", with_body)
        except HoldfastError as error:
            return _refusal(error.reason, error.message, error.hint, with_body)


def _check(request: Request) -> None:
    """Raise BadRequest for whom the page is not: other names for this machine, other sites' pages, writers."""
    if request.method not in ("GET", "HEAD"):
        raise BadRequest("this page is for reading", reason="ReadOnly")
    if not is_ours(request.headers.get("host", "")):
        raise BadRequest("ask for it as localhost", reason="Elsewhere")
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise BadRequest("another site's page may not read this", reason="Elsewhere")


def _refusal(reason: str, message: str, hint: str, with_body: bool) -> bytes:
    body = msgspec.json.encode({"error": {"reason": reason, "message": message, "hint": hint}})
    return _response(_STATUS.get(reason, 503), body, "application/json", "", with_body)


def _response(status: int, body: bytes, kind: str, policy: str, with_body: bool) -> bytes:
    head = [
        f"HTTP/1.1 {status} {_WORDS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        f"Content-Security-Policy: {policy or _NOTHING}",
        *_ALWAYS,
        *(["Allow: GET, HEAD"] if status == 405 else []),
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + (body if with_body else b"")
