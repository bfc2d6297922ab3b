"""The routes of the API: each takes a request apart, calls one operation, and answers with what it returned."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast_hub.api import data, overrides
from holdfast_hub.api.answers import answer, author, body, query
from holdfast_hub.api.events import EventStream
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations import (
    apply,
    diff,
    ejection,
    holds,
    objects,
    placement,
    render,
    schemas,
    sites,
    views,
    windows,
)
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.operations.kits import KitWords, site_kit
from holdfast_hub.operations.sites import SiteWords
from holdfast_protocol import VERSION

Handler = Callable[[Hub, Request], Awaitable[Any]]


class Files(msgspec.Struct, forbid_unknown_fields=True):
    files: list[SourceFile] = []
    plain: Words = Words()  # of the plain manifests among them


class Applying(Files, forbid_unknown_fields=True):
    dry_run: bool = False
    force: bool = False  # accept breaking changes of schemas


class Rendering(Files, forbid_unknown_fields=True):
    instance: str | None = None
    site: str | None = None


class Ejecting(Files, forbid_unknown_fields=True):
    blueprint: str | None = None
    site: str | None = None


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


class Released(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]


class OfSite(msgspec.Struct, forbid_unknown_fields=True):
    site: str = ""


class Listing(msgspec.Struct, forbid_unknown_fields=True):
    selector: str = ""  # over labels
    fields: str = ""


class SchemaForm(msgspec.Struct, forbid_unknown_fields=True):
    form: Literal["json", "openapi"] = "json"


async def health(hub: Hub, request: Request) -> Any:
    """What this hub is and how it does."""
    state: Mapping[str, Any] = request.app.state.link()
    counts = await views.counts(hub)
    return {
        "fleet": hub.identity.fleet,
        "version": VERSION,
        "sqlite": sqlite3.sqlite_version,
        **state,
        **counts,
    }


async def post_apply(hub: Hub, request: Request) -> Any:
    """Create or change what the files describe: all of it, or nothing."""
    wanted = await body(request, Applying)
    return await apply.apply(
        hub,
        wanted.files,
        author=author(request),
        dry_run=wanted.dry_run,
        force=wanted.force,
        words=wanted.plain,
    )


async def post_diff(hub: Hub, request: Request) -> Any:
    """What applying the files would change, by groups of sites."""
    wanted = await body(request, Files)
    return await diff.diff(hub, wanted.files, author=author(request), words=wanted.plain)


async def post_render(hub: Hub, request: Request) -> Any:
    """The resources instances become."""
    wanted = await body(request, Rendering)
    return await render.render(
        hub,
        wanted.files,
        instance=wanted.instance or "",
        site=wanted.site or "",
        author=author(request),
        words=wanted.plain,
    )


async def post_eject(hub: Hub, request: Request) -> Any:
    """Plain files that need no hub, of instances or of one site."""
    wanted = await body(request, Ejecting)
    if wanted.site:
        return await ejection.eject_site(hub, wanted.site)
    return await ejection.eject_blueprints(hub, wanted.files, blueprint=wanted.blueprint or "", author=author(request))


async def get_blueprints(hub: Hub, _: Request) -> Any:
    """All blueprints."""
    return {"items": await views.list_blueprints(hub)}


async def get_blueprint(hub: Hub, request: Request) -> Any:
    """One blueprint with its source and revisions."""
    return await views.show_blueprint(hub, request.path_params["name"])


async def get_blueprint_schema(hub: Hub, request: Request) -> Any:
    """JSON Schema of a blueprint's instances, or with ?form=openapi their spec as OpenAPI."""
    wanted = query(request, SchemaForm)
    return await schemas.blueprint_schema(hub, request.path_params["name"], openapi=wanted.form == "openapi")


async def delete_blueprint(hub: Hub, request: Request) -> Any:
    """Delete a blueprint that has no instances."""
    return await apply.delete_blueprint(hub, request.path_params["name"], author=author(request))


async def get_instances(hub: Hub, _: Request) -> Any:
    """All instances."""
    return {"items": await views.list_instances(hub)}


async def get_instance(hub: Hub, request: Request) -> Any:
    """One instance, by name or Kind/name, with how far each of its sites is."""
    return await views.show_instance(hub, request.path_params["name"])


async def delete_instance(hub: Hub, request: Request) -> Any:
    """Delete an instance; its sites remove what it made there."""
    return await apply.delete_instance(hub, request.path_params["name"], author=author(request))


async def get_objects(hub: Hub, _: Request) -> Any:
    """All policies, overlays and the like: whatever is placed without a blueprint."""
    return {"items": await objects.list_objects(hub)}


async def get_objects_of(hub: Hub, request: Request) -> Any:
    """Those of one kind."""
    return {"items": await objects.list_objects(hub, request.path_params["kind"])}


async def get_object(hub: Hub, request: Request) -> Any:
    """One of them with its source and the sites it is placed on."""
    return await objects.show_object(hub, request.path_params["kind"], request.path_params["name"])


async def delete_object(hub: Hub, request: Request) -> Any:
    """Delete one of them; the targets of its sites follow."""
    return await apply.delete_object(
        hub, request.path_params["kind"], request.path_params["name"], author=author(request)
    )


async def get_sites(hub: Hub, request: Request) -> Any:
    """All sites, or those a label selector (?selector=) and a field selector (?fields=) choose."""
    wanted = query(request, Listing)
    return {"items": await views.list_sites(hub, wanted.selector, wanted.fields)}


async def post_site(hub: Hub, request: Request) -> Any:
    """Add a site."""
    wanted = await body(request, NewSite)
    words = SiteWords(dict(wanted.labels), wanted.zones, wanted.region, wanted.provider, wanted.time_zone)
    await sites.add_site(hub, wanted.name, words, author=author(request))
    return {"name": wanted.name}


async def get_site(hub: Hub, request: Request) -> Any:
    """One site with its nodes, resources, problems and history."""
    return await views.show_site(hub, request.path_params["name"])


async def patch_site(hub: Hub, request: Request) -> Any:
    """Change labels (null takes one away), zones, region or provider."""
    wanted = await body(request, ChangedSite)
    name = request.path_params["name"]
    words = SiteWords(wanted.labels, wanted.zones, wanted.region, wanted.provider, wanted.time_zone)
    await sites.describe_site(hub, name, words, author=author(request))
    return await views.show_site(hub, name)


async def delete_site(hub: Hub, request: Request) -> Any:
    """Forget a site; what runs there goes on."""
    return await apply.delete_site(hub, request.path_params["name"], author=author(request))


async def post_kit(hub: Hub, request: Request) -> Any:
    """Make the files a node starts with; a kit made before for the same node is no longer accepted."""
    words = await body(request, KitWords)
    return {"files": await site_kit(hub, request.path_params["name"], words, author=author(request))}


async def post_adopt(hub: Hub, request: Request) -> Any:
    """End a conflict: what this hub wants wins over the newer target the site holds."""
    name = request.path_params["name"]
    await sites.adopt_site(hub, name, author=author(request))
    return await views.show_site(hub, name)


async def post_retry(hub: Hub, request: Request) -> Any:
    """Have a site try its target once more, after it went back from it."""
    name = request.path_params["name"]
    await sites.retry_site(hub, name, author=author(request))
    return await views.show_site(hub, name)


async def get_target(hub: Hub, request: Request) -> Any:
    """The newest target of a site."""
    return await views.show_target(hub, request.path_params["name"])


async def get_nodes(hub: Hub, request: Request) -> Any:
    """All nodes, or those of the sites that selectors (as for sites) choose."""
    wanted = query(request, Listing)
    return {"items": await views.list_nodes(hub, wanted.selector, wanted.fields)}


async def get_node(hub: Hub, request: Request) -> Any:
    """One node, by name or site/name."""
    return await views.show_node(hub, request.path_params["name"])


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
    ("GET", "/v1/health", health),
    ("POST", "/v1/apply", post_apply),
    ("POST", "/v1/diff", post_diff),
    ("POST", "/v1/render", post_render),
    ("POST", "/v1/eject", post_eject),
    ("GET", "/v1/blueprints", get_blueprints),
    ("GET", "/v1/blueprints/{name}", get_blueprint),
    ("GET", "/v1/blueprints/{name}/schema", get_blueprint_schema),
    ("DELETE", "/v1/blueprints/{name}", delete_blueprint),
    ("GET", "/v1/instances", get_instances),
    ("GET", "/v1/instances/{name:path}", get_instance),
    ("DELETE", "/v1/instances/{name:path}", delete_instance),
    ("GET", "/v1/objects", get_objects),
    ("GET", "/v1/objects/{kind}", get_objects_of),
    ("GET", "/v1/objects/{kind}/{name}", get_object),
    ("DELETE", "/v1/objects/{kind}/{name}", delete_object),
    ("GET", "/v1/sites", get_sites),
    ("POST", "/v1/sites", post_site),
    ("GET", "/v1/sites/{name}", get_site),
    ("PATCH", "/v1/sites/{name}", patch_site),
    ("DELETE", "/v1/sites/{name}", delete_site),
    ("POST", "/v1/sites/{name}/kit", post_kit),
    ("POST", "/v1/sites/{name}/adopt", post_adopt),
    ("POST", "/v1/sites/{name}/retry", post_retry),
    ("GET", "/v1/sites/{name}/target", get_target),
    ("GET", "/v1/nodes", get_nodes),
    ("GET", "/v1/nodes/{name:path}", get_node),
    ("GET", "/v1/explain/placement", get_explained_placement),
    ("GET", "/v1/explain/windows", get_explained_windows),
    ("GET", "/v1/holds", get_holds),
    ("POST", "/v1/holds", post_holds),
    ("POST", "/v1/holds/release", post_release),
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
