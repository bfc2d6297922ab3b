"""Who may speak over loopback TCP: programs of this machine, and no web page that a browser on it happens to show.

A page elsewhere can make a browser post here (then `Origin` names the page), or give its own name this address (then
`Host` is that name). The Unix socket is out of a browser's reach.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast_hub.api.answers import Refusal, error_answer

OURS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OnlyOurs:
    """ASGI middleware that refuses requests for another host or from another origin with 403."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") is not None:
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if _name(f"//{host}") not in OURS or (origin is not None and origin != f"http://{host}"):
                refusal = Refusal("asked by or for another host than this one", 403, reason="ForeignOrigin")
                await error_answer(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
