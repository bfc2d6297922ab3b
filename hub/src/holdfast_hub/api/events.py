"""Server-sent events: something changed, look again. A comment every 15 s shows that the line is alive."""

from typing import Final

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from holdfast_hub.operations.hub import Hub
from holdfast_hub.store.feed import Event

ALIVE_EVERY: Final = 15.0  # seconds


class EventStream(Response):
    """Follows the feed from the moment it is made, or from after an event's id, until the reader or the hub goes."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, after: str) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._hub = hub
        self._followed = hub.feed.follow(after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, receive, group.cancel_scope, name="reader")
            await self._send_events(send)
            group.cancel_scope.cancel()

    async def _watch(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _send_events(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        text = b": connected\n\n"
        while True:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            event = None
            with anyio.move_on_after(ALIVE_EVERY):
                event = await self._followed.next()
            if event is not None and event.kind == "end":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            text = b": alive\n\n" if event is None else self._encoded(event)

    def _encoded(self, event: Event) -> bytes:
        data = msgspec.json.encode({"kind": event.kind, "name": event.name})
        number = self._hub.feed.id_of(event).encode()
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (number, event.kind.encode(), data)
