"""The API server's watch: a connection for each object that says something when the object changes. What it says is not
read: the next look finds it. [inv: no-content-in-wakeups]"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

import anyio
import anyio.abc
import anyio.to_thread

from holdfast_edge.providers.kubernetes.api import Api
from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import ProviderError

MAX_WATCHED: Final = 50  # objects; the rest is left to the periodic look
MAX_HEAD: Final = 64 * 1024  # bytes before the first event
_FOR_S: Final = 300  # seconds the server keeps one open
_CONNECT_S: Final = 15.0
_FIRST_S: Final = 1.0
_LAST_S: Final = 60.0


class Watching:
    """`follow` says which objects, by collection and name; `run` wakes. Both belong to the event loop."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._wanted: frozenset[tuple[str, str]] = frozenset()
        self._changed = anyio.Event()

    def follow(self, objects: Iterable[tuple[str, str]]) -> None:
        wanted = frozenset(sorted(objects)[:MAX_WATCHED])
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self, wake: Wake) -> None:
        """Call `wake` for every change of what is followed, until cancelled."""
        running: dict[tuple[str, str], anyio.CancelScope] = {}
        async with anyio.create_task_group() as group:
            while True:
                self._changed = anyio.Event()
                for gone in set(running) - self._wanted:
                    running.pop(gone).cancel()
                for fresh in self._wanted - set(running):
                    running[fresh] = scope = anyio.CancelScope()
                    group.start_soon(self._run_one, fresh, scope, wake)
                await self._changed.wait()

    async def _run_one(self, what: tuple[str, str], scope: anyio.CancelScope, wake: Wake) -> None:
        rest = _FIRST_S
        with scope:
            while True:
                try:
                    if await self._listen(*what, wake):
                        rest = _FIRST_S
                except (OSError, ProviderError, anyio.BrokenResourceError, anyio.EndOfStream, TimeoutError):
                    wake()  # the look says what is wrong
                await anyio.sleep(rest)
                rest = min(rest * 2, _LAST_S)

    async def _listen(self, collection: str, name: str, wake: Wake) -> bool:
        """Listen until the server ends it; true when it listened to us at all."""
        query = urlencode({"watch": "1", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(_FOR_S)})
        headers = await anyio.to_thread.run_sync(self._api.headers)
        lines = [f"GET {collection}?{query} HTTP/1.1", f"Host: {self._api.host}:{self._api.port}", "Connection: close"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        async with await self._connected() as stream:
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            head = b""
            try:
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                    if len(head) > MAX_HEAD:
                        return False
                if head.split(None, 2)[1:2] != [b"200"]:
                    return False
                while True:
                    wake()  # once to begin with: what changed before we listened has no event
                    await stream.receive()
            except anyio.EndOfStream:
                return b" 200 " in head[:20]

    async def _connected(self) -> anyio.abc.ByteStream:
        with anyio.fail_after(_CONNECT_S):
            if not self._api.secure:
                return await anyio.connect_tcp(self._api.host, self._api.port)
            context = await anyio.to_thread.run_sync(self._api.context)
            return await anyio.connect_tcp(
                self._api.host,
                self._api.port,
                tls=True,
                ssl_context=context,
                tls_hostname=self._api.host,
                tls_standard_compatible=False,
            )
