"""The routes of device data: readings, devices and what is said to them, retention, sinks."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from holdfast_hub.api import export
from holdfast_hub.api.answers import Deleting, author, body, query
from holdfast_hub.operations import apply, bridges, commands, devices, history, objects, readings, sinks
from holdfast_hub.operations.hub import Hub

Handler = Callable[[Hub, Request], Awaitable[Any]]


class Labelling(msgspec.Struct, forbid_unknown_fields=True):
    labels: dict[str, str | None] = {}


class Desiring(msgspec.Struct, forbid_unknown_fields=True):
    properties: dict[str, Any]


class Replaying(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    since: readings.Moment | None = None  # left out: from the beginning


class Commanding(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    seconds: int  # until its deadline
    data: Any = None


async def get_devices(hub: Hub, request: Request) -> Any:
    """Devices of one site (?site=) or of all, by name."""
    return {"items": await devices.list_devices(hub, query(request, devices.Listing))}


async def get_device(hub: Hub, request: Request) -> Any:
    """One device, by site/device: newest values, desired and reported properties, commands, history."""
    return await devices.show_device(hub, *_named(request))


async def patch_device(hub: Hub, request: Request) -> Any:
    """Change labels; null takes one away."""
    wanted = await body(request, Labelling)
    return await devices.label_device(hub, *_named(request), wanted.labels, author=author(request))


async def delete_device(hub: Hub, request: Request) -> Any:
    """Forget a device until it speaks again; its readings stay."""
    return await devices.forget_device(hub, *_named(request), author=author(request))


async def post_desired(hub: Hub, request: Request) -> Any:
    """Set properties a device shall have; null takes one away."""
    wanted = await body(request, Desiring)
    return await devices.desire(hub, *_named(request), wanted.properties, author=author(request))


async def post_command(hub: Hub, request: Request) -> Any:
    """Order something of a device until a deadline; its outcome is at /v1/commands/{id}."""
    wanted = await body(request, Commanding)
    return await commands.command_device(
        hub, *_named(request), wanted.name, wanted.data, seconds=wanted.seconds, author=author(request)
    )


async def get_command(hub: Hub, request: Request) -> Any:
    """One command to a device and what became of it."""
    return await commands.show_command(hub, request.path_params["id"])


async def get_sinks(hub: Hub, _: Request) -> Any:
    """All sinks, how far each is and what stands in its way."""
    return {"items": await sinks.list_sinks(hub)}


async def get_sink(hub: Hub, request: Request) -> Any:
    """One sink with its source and the sites it is for."""
    name = request.path_params["name"]
    shown = await sinks.show_sink(hub, name)
    return {**await objects.show_object(hub, "Sink", name), **msgspec.to_builtins(shown)}


async def post_replay(hub: Hub, request: Request) -> Any:
    """Give a sink again what is stored of its sites, readings of a time and later."""
    wanted = await body(request, Replaying)
    return await sinks.replay(hub, request.path_params["name"], wanted.since, author=author(request))


async def get_bridges(hub: Hub, _: Request) -> Any:
    """All bridges, the hub's own and those of sites as they said last: rates, lag, buffers, what was dropped and why."""
    return {"items": await bridges.list_bridges(hub)}


async def get_bridge(hub: Hub, request: Request) -> Any:
    """One bridge, by site/name (hub/name for the hub's own), at each node that runs it."""
    return {"items": await bridges.show_bridge(hub, request.path_params["name"])}


async def delete_sink(hub: Hub, request: Request) -> Any:
    """Delete a sink and its place; what it was not sent yet it will never be."""
    dry_run = query(request, Deleting).dry_run
    return await apply.delete_object(hub, "Sink", request.path_params["name"], author=author(request), dry_run=dry_run)


def _named(request: Request) -> tuple[str, str]:
    site, _, device = request.path_params["name"].partition("/")
    return site, device


async def get_readings(hub: Hub, request: Request) -> Any:
    """Device readings by site, device, metric and time."""
    return await readings.readings(hub, query(request, readings.Asked))


async def get_buckets(hub: Hub, request: Request) -> Any:
    """Readings reduced to buckets of ?every= milliseconds, of which `tier` and what of it is `lost`; holes have count 0."""
    return {"items": await history.reduced(hub, query(request, history.Asked))}


async def get_export(hub: Hub, request: Request) -> Response:
    """Every reading of a selection, or with ?every= its buckets, as a stream: JSON lines, or with ?form=csv CSV."""
    wanted = query(request, history.Exporting)
    if wanted.every:
        found = export.spans(await export.begun(history.spans(hub, wanted)), wanted.form)
    else:
        found = export.text(await export.begun(history.pages(hub, wanted)), wanted.form)
    return StreamingResponse(found, media_type=export.TYPES[wanted.form])


async def get_ledger(hub: Hub, request: Request) -> Any:
    """The proof for one site: sent = stored + recorded losses + pending, stream by stream."""
    return await readings.ledger(hub, request.path_params["name"])


TABLE: Final[tuple[tuple[Literal["GET", "POST", "PATCH", "DELETE"], str, Handler], ...]] = (
    ("GET", "/v1/devices", get_devices),
    ("POST", "/v1/devices/{name:path}/desired", post_desired),
    ("POST", "/v1/devices/{name:path}/commands", post_command),
    ("GET", "/v1/devices/{name:path}", get_device),
    ("PATCH", "/v1/devices/{name:path}", patch_device),
    ("DELETE", "/v1/devices/{name:path}", delete_device),
    ("GET", "/v1/commands/{id}", get_command),
    ("GET", "/v1/bridges", get_bridges),
    ("GET", "/v1/bridges/{name:path}", get_bridge),
    ("GET", "/v1/sinks", get_sinks),
    ("GET", "/v1/sinks/{name}", get_sink),
    ("POST", "/v1/sinks/{name}/replay", post_replay),
    ("DELETE", "/v1/sinks/{name}", delete_sink),
    ("GET", "/v1/readings", get_readings),
    ("GET", "/v1/readings/buckets", get_buckets),
    ("GET", "/v1/export", get_export),
    ("GET", "/v1/ledger/{name}", get_ledger),
)
