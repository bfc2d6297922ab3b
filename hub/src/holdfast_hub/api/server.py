"""Serve the API on a Unix socket of its own, and on loopback TCP where asked: uvicorn inside our own event loop."""

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from holdfast_hub.api.answers import Refusal, error_answer
from holdfast_hub.api.origin import OnlyOurs
from holdfast_hub.api.routes import routes
from holdfast_hub.operations.hub import Hub
from holdfast_hub.settings import Address
from holdfast_hub.store.feed import Feed
from holdfast_protocol.errors import HoldfastError, PermanentError

BACKLOG: Final = 128
GRACE: Final = 2  # seconds for requests under way when the hub stops


def application(hub: Hub, link: Callable[[], Mapping[str, Any]]) -> Starlette:
    """Return the ASGI application; `link` says for `health` how the hub's connection is."""
    app = Starlette(
        routes=routes(hub),
        middleware=[Middleware(OnlyOurs)],
        exception_handlers={HoldfastError: _on_error, HTTPException: _on_http, Exception: _on_bug},
    )
    app.state.link = link
    return app


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HoldfastError)
    return error_answer(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = {404: "NoSuchRoute", 405: "MethodNotAllowed"}.get(error.status_code, "BadRequest")
    return error_answer(Refusal(error.detail, error.status_code, reason=reason))


async def _on_bug(_: Request, error: Exception) -> Response:
    """What is no error of ours is a bug: told without its insides, which uvicorn writes to the log."""
    return error_answer(Refusal(f"the hub failed at this request: {type(error).__name__}", 500, reason="Internal"))


def unix_socket(path: Path) -> socket.socket:
    """Return a listening socket only its owner may use. Raises PermanentError when another hub listens there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise PermanentError(f"{path} is there and is no socket", reason="SocketTaken")
        if _answers(path):
            raise PermanentError(f"a hub listens on {path} already", reason="SocketTaken", hint="stop it first")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # a chmod afterwards would leave a moment in which others may connect
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise PermanentError(f"cannot listen on {path}: {error.strerror}", reason="SocketTaken") from error
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        try:
            tried.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def tcp_socket(address: Address) -> socket.socket:
    """Return a listening socket on loopback."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PermanentError(f"cannot listen on {address}: {error.strerror}", reason="AddressTaken") from error


class _Server(uvicorn.Server):
    """Signals are the hub's own to handle, and nothing here needs a tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.stopping.wait()


async def run_api(app: Starlette, sockets: Sequence[socket.socket], feed: Feed) -> None:
    """Serve until cancelled, then finish what is under way; followers of the feed are told that it ends."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config)

    async def serve() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=list(sockets))

    async with anyio.create_task_group() as group:
        group.start_soon(serve, name="uvicorn")
        try:
            await anyio.sleep_forever()
        finally:
            feed.tell("end", "")
            server.stopping.set()
