"""The routes of what files describe: apply, diff, render, eject, blueprints, instances, placed objects."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request

from holdfast_hub.api.answers import Deleting, author, body, query
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations import apply, diff, ejection, instance_views, objects, render, schemas
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile

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


class SchemaForm(msgspec.Struct, forbid_unknown_fields=True):
    form: Literal["json", "openapi"] = "json"


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
    return {"items": await instance_views.list_blueprints(hub)}


async def get_blueprint(hub: Hub, request: Request) -> Any:
    """One blueprint with its source and revisions."""
    return await instance_views.show_blueprint(hub, request.path_params["name"])


async def get_blueprint_schema(hub: Hub, request: Request) -> Any:
    """JSON Schema of a blueprint's instances, or with ?form=openapi their spec as OpenAPI."""
    wanted = query(request, SchemaForm)
    return await schemas.blueprint_schema(hub, request.path_params["name"], openapi=wanted.form == "openapi")


async def delete_blueprint(hub: Hub, request: Request) -> Any:
    """Delete a blueprint that has no instances."""
    dry_run = query(request, Deleting).dry_run
    return await apply.delete_blueprint(hub, request.path_params["name"], author=author(request), dry_run=dry_run)


async def get_instances(hub: Hub, _: Request) -> Any:
    """All instances."""
    return {"items": await instance_views.list_instances(hub)}


async def get_instance(hub: Hub, request: Request) -> Any:
    """One instance, by name or Kind/name, with how far each of its sites is."""
    return await instance_views.show_instance(hub, request.path_params["name"])


async def delete_instance(hub: Hub, request: Request) -> Any:
    """Delete an instance; its sites remove what it made there."""
    dry_run = query(request, Deleting).dry_run
    return await apply.delete_instance(hub, request.path_params["name"], author=author(request), dry_run=dry_run)


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
    words, dry_run = request.path_params, query(request, Deleting).dry_run
    return await apply.delete_object(hub, words["kind"], words["name"], author=author(request), dry_run=dry_run)


TABLE: Final[tuple[tuple[Literal["GET", "POST", "PATCH", "DELETE"], str, Handler], ...]] = (
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
)
