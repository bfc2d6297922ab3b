"""The table of the API: each route takes a request apart, calls one operation, and answers with what it returned."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast_hub.api import data, documents, overrides, sites
from holdfast_hub.api.answers import answer
from holdfast_hub.api.events import EventStream
from holdfast_hub.operations import site_views
from holdfast_hub.operations.hub import Hub
from holdfast_protocol import VERSION

Handler = Callable[[Hub, Request], Awaitable[Any]]


async def health(hub: Hub, request: Request) -> Any:
    """What this hub is and how it does."""
    state: Mapping[str, Any] = request.app.state.link()
    counts = await site_views.counts(hub)
    return {
        "fleet": hub.identity.fleet,
        "version": VERSION,
        "sqlite": sqlite3.sqlite_version,
        **state,
        **counts,
    }


TABLE: Final[tuple[tuple[Literal["GET", "POST", "PATCH", "DELETE"], str, Handler], ...]] = (
    ("GET", "/v1/health", health),
    *documents.TABLE,
    *sites.TABLE,
    *overrides.TABLE,
    *data.TABLE,
)


def routes(hub: Hub) -> list[Route]:
    """Return the table as routes, with the table itself at /v1 and the events."""
    by_path: dict[str, dict[str, Handler]] = {}
    for method, path, handler in TABLE:
        by_path.setdefault(path, {})[method] = handler
    listed = [{"method": method, "path": path, "what": handler.__doc__} for method, path, handler in TABLE]
    listed.append(
        {
            "method": "GET",
            "path": "/v1/events",
            "what": "Server-sent events: something changed. Goes on after the id in Last-Event-ID.",
        }
    )

    async def table(_: Request) -> Response:
        return answer({"routes": listed})

    async def follow(request: Request) -> Response:
        return EventStream(hub, request.headers.get("last-event-id", "")[:100])

    return [
        Route("/v1", table),
        Route("/v1/events", follow),
        *(Route(path, _endpoint(hub, handlers), methods=list(handlers)) for path, handlers in by_path.items()),
    ]


def _endpoint(hub: Hub, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        made = await handlers[method](hub, request)
        return made if isinstance(made, Response) else answer(made)

    return endpoint
