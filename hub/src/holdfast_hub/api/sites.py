"""The routes of sites and their nodes: what they are, how far they are, and what holds them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request

from holdfast_hub.api.answers import Deleting, author, body, query
from holdfast_hub.operations import apply, holds, placement, reboots, site_views, sites, windows
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.kits import KitWords, site_kit
from holdfast_hub.operations.sites import SiteWords

Handler = Callable[[Hub, Request], Awaitable[Any]]


class NewSite(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    labels: dict[str, str] = {}
    zones: list[str] = []
    region: str = ""
    provider: str = ""
    time_zone: str = ""  # IANA; "" for the node's own
    node: str = "node-1"  # whom its first kit will be for


class ChangedSite(msgspec.Struct, forbid_unknown_fields=True):
    labels: dict[str, str | None] = {}
    zones: list[str] | None = None
    region: str | None = None
    provider: str | None = None
    time_zone: str | None = None


class NewHold(msgspec.Struct, forbid_unknown_fields=True):
    sites: list[str]
    seconds: int
    reason: str
    resources: list[str] = []


class NewReboots(msgspec.Struct, forbid_unknown_fields=True):
    sites: tuple[str, ...]
    reason: str
    seconds: int = 4 * 3600  # after which a site that could not gives it up


class Released(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]


class OfSite(msgspec.Struct, forbid_unknown_fields=True):
    site: str = ""


class Listing(msgspec.Struct, forbid_unknown_fields=True):
    selector: str = ""  # over labels
    fields: str = ""


async def get_sites(hub: Hub, request: Request) -> Any:
    """All sites, or those a label selector (?selector=) and a field selector (?fields=) choose."""
    wanted = query(request, Listing)
    return {"items": await site_views.list_sites(hub, wanted.selector, wanted.fields)}


async def post_site(hub: Hub, request: Request) -> Any:
    """Add a site."""
    wanted = await body(request, NewSite)
    words = SiteWords(dict(wanted.labels), wanted.zones, wanted.region, wanted.provider, wanted.time_zone)
    await sites.add_site(hub, wanted.name, words, author=author(request))
    return {"name": wanted.name}


async def get_site(hub: Hub, request: Request) -> Any:
    """One site with its nodes, resources, problems and history."""
    return await site_views.show_site(hub, request.path_params["name"])


async def patch_site(hub: Hub, request: Request) -> Any:
    """Change labels (null takes one away), zones, region or provider."""
    wanted = await body(request, ChangedSite)
    name = request.path_params["name"]
    words = SiteWords(wanted.labels, wanted.zones, wanted.region, wanted.provider, wanted.time_zone)
    await sites.describe_site(hub, name, words, author=author(request))
    return await site_views.show_site(hub, name)


async def delete_site(hub: Hub, request: Request) -> Any:
    """Forget a site; what runs there goes on."""
    dry_run = query(request, Deleting).dry_run
    return await apply.delete_site(hub, request.path_params["name"], author=author(request), dry_run=dry_run)


async def post_kit(hub: Hub, request: Request) -> Any:
    """Make the files a node starts with; a kit made before for the same node is no longer accepted."""
    words = await body(request, KitWords)
    return {"files": await site_kit(hub, request.path_params["name"], words, author=author(request))}


async def post_adopt(hub: Hub, request: Request) -> Any:
    """End a conflict: what this hub wants wins over the newer target the site holds."""
    name = request.path_params["name"]
    await sites.adopt_site(hub, name, author=author(request))
    return await site_views.show_site(hub, name)


async def post_retry(hub: Hub, request: Request) -> Any:
    """Have a site try its target once more, after it went back from it."""
    name = request.path_params["name"]
    await sites.retry_site(hub, name, author=author(request))
    return await site_views.show_site(hub, name)


async def post_reboots(hub: Hub, request: Request) -> Any:
    """Ask sites to restart their machines once, as soon as nothing there speaks against it."""
    wanted = await body(request, NewReboots)
    made = await reboots.request_reboots(
        hub, wanted.sites, reason=wanted.reason, seconds=wanted.seconds, author=author(request)
    )
    return {"items": made}


async def get_target(hub: Hub, request: Request) -> Any:
    """The newest target of a site."""
    return await site_views.show_target(hub, request.path_params["name"])


async def get_nodes(hub: Hub, request: Request) -> Any:
    """All nodes, or those of the sites that selectors (as for sites) choose."""
    wanted = query(request, Listing)
    return {"items": await site_views.list_nodes(hub, wanted.selector, wanted.fields)}


async def get_node(hub: Hub, request: Request) -> Any:
    """One node, by name or site/name."""
    return await site_views.show_node(hub, request.path_params["name"])


async def get_explained_placement(hub: Hub, request: Request) -> Any:
    """Each requirement of an instance's placement (?instance=) and what became of it at a site (?site=)."""
    return await placement.explain_placement(hub, query(request, placement.Asked))


async def get_explained_windows(hub: Hub, request: Request) -> Any:
    """When each gate of a site (?site=) opens next, by which windows, and what its nodes say."""
    return await windows.explain_windows(hub, query(request, OfSite).site)


async def get_holds(hub: Hub, request: Request) -> Any:
    """The holds that stand, of one site (?site=) or of all, made here or there."""
    return {"items": await holds.list_holds(hub, query(request, OfSite).site)}


async def post_holds(hub: Hub, request: Request) -> Any:
    """Hold everything, or some resources, at some sites for a time."""
    wanted = await body(request, NewHold)
    made = await holds.make_holds(
        hub,
        wanted.sites,
        resources=wanted.resources,
        seconds=wanted.seconds,
        reason=wanted.reason,
        author=author(request),
    )
    return {"items": made}


async def post_release(hub: Hub, request: Request) -> Any:
    """End holds made here: by id, or all of a site."""
    wanted = await body(request, Released)
    return {"items": await holds.release_holds(hub, wanted.names, author=author(request))}


TABLE: Final[tuple[tuple[Literal["GET", "POST", "PATCH", "DELETE"], str, Handler], ...]] = (
    ("GET", "/v1/sites", get_sites),
    ("POST", "/v1/sites", post_site),
    ("GET", "/v1/sites/{name}", get_site),
    ("PATCH", "/v1/sites/{name}", patch_site),
    ("DELETE", "/v1/sites/{name}", delete_site),
    ("POST", "/v1/sites/{name}/kit", post_kit),
    ("POST", "/v1/sites/{name}/adopt", post_adopt),
    ("POST", "/v1/sites/{name}/retry", post_retry),
    ("GET", "/v1/sites/{name}/target", get_target),
    ("POST", "/v1/reboots", post_reboots),
    ("GET", "/v1/nodes", get_nodes),
    ("GET", "/v1/nodes/{name:path}", get_node),
    ("GET", "/v1/explain/placement", get_explained_placement),
    ("GET", "/v1/explain/windows", get_explained_windows),
    ("GET", "/v1/holds", get_holds),
    ("POST", "/v1/holds", post_holds),
    ("POST", "/v1/holds/release", post_release),
)
