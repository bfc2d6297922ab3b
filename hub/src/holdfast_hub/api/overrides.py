"""The routes of overrides: what people at sites laid over their targets."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request

from holdfast_hub.api.answers import author, body, query
from holdfast_hub.operations import overrides
from holdfast_hub.operations.hub import Hub

Handler = Callable[[Hub, Request], Awaitable[Any]]


class Of(msgspec.Struct, forbid_unknown_fields=True):
    site: str = ""


class Deciding(msgspec.Struct, forbid_unknown_fields=True):
    names: tuple[str, ...]  # ids
    verdict: Literal["adopted", "dropped"]


async def get_overrides(hub: Hub, request: Request) -> Any:
    """What people at one site (?site=) or at all laid over their targets, and what was decided of it."""
    return {"items": await overrides.list_overrides(hub, query(request, Of).site)}


async def post_decide(hub: Hub, request: Request) -> Any:
    """Adopt overrides, by an Overlay for their sites, or drop them."""
    wanted = await body(request, Deciding)
    decided = await overrides.decide_overrides(hub, wanted.names, wanted.verdict, author=author(request))
    return {"items": decided}


TABLE: Final[tuple[tuple[Literal["GET", "POST", "PATCH", "DELETE"], str, Handler], ...]] = (
    ("GET", "/v1/overrides", get_overrides),
    ("POST", "/v1/overrides/decide", post_decide),
)
