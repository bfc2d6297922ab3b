"""Run inside a booted machine by `support.workbench`: its providers over lines of JSON on standard input and output.

One question a line: `{"ask": verb, "body": …, "scope": […], "die": "module:Class.method"}`; the answer is one line.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.core.own import UNITS as OWN_UNITS
from holdfast_edge.providers.firewall.provider import FirewallProvider
from holdfast_edge.providers.hostname.provider import HostnameProvider
from holdfast_edge.providers.network.provider import NetworkInterfaceProvider
from holdfast_edge.providers.port import Scope
from holdfast_edge.providers.registry import Registry
from holdfast_edge.providers.systemd.clock import TimeProvider
from holdfast_edge.providers.systemd.dbus import DbusSystemd
from holdfast_edge.providers.systemd.drop_ins import DropInProvider
from holdfast_edge.providers.systemd.foreign import ForeignUnitProvider
from holdfast_edge.providers.systemd.home import find_home
from holdfast_edge.providers.systemd.provider import UnitProvider
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire import target

STATE = Path("/var/lib/holdfast")


def _equipped(hub: str) -> Registry:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    home, way, kept = find_home("system", {}), Way(hub, 1883), (STATE, Path("/etc/holdfast"))

    def door() -> DbusSystemd:
        return DbusSystemd(home.address)

    return Registry(
        [
            UnitProvider(door(), home, state=STATE / "services", denied=OWN_UNITS, kept=kept),
            DropInProvider(door(), home, state=STATE / "drop-ins", denied=OWN_UNITS),
            ForeignUnitProvider(door(), home, state=STATE / "units", denied=OWN_UNITS),
            FirewallProvider(way, state=STATE / "firewall"),
            NetworkInterfaceProvider(way, state=STATE / "network"),
            HostnameProvider(state=STATE / "hostname"),
            TimeProvider(door(), state=STATE / "time"),
        ]
    )


def _die_at(place: str) -> None:
    """End this process, as a power cut does, when it comes to `place`."""
    module, _, path = place.partition(":")
    owner, _, name = path.partition(".")
    cls = getattr(import_module(module), owner)
    setattr(cls, name, lambda *_, **__: os._exit(9))


async def _answer(chosen: Registry, asked: dict[str, Any], woken: list[int]) -> Any:
    if asked["ask"] == "woken":
        return len(woken)
    if "die" in asked:
        _die_at(asked["die"])
    resource = target.resource(asked["body"])
    others = [target.resource(body) for body in asked.get("scope", [])]
    scope = Scope(
        resources={each.key: each for each in (resource, *others)},
        previous={resource.key: asked["previous"]} if asked.get("previous") else {},
    )
    provider = chosen.provider(resource.key)
    match asked["ask"]:
        case "observe":
            return msgspec.to_builtins((await provider.observe([resource], scope))[resource.key])
        case "check":
            provider.check(resource, scope)
        case "prepare":
            await provider.prepare(resource, scope)
        case "apply":
            provider.check(resource, scope)
            await provider.apply(resource, scope)
        case "remove":
            await provider.remove(resource.key, resource.body)
    return None


async def _main(hub: str) -> None:
    chosen, woken = _equipped(hub), list[int]()
    async with anyio.create_task_group() as group:
        for provider in chosen.providers:
            run: Callable[..., Awaitable[None]] = provider.run_watch
            group.start_soon(run, lambda: woken.append(1))
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            try:
                said: dict[str, Any] = {"is": await _answer(chosen, json.loads(line), woken)}
            except ProviderError as error:
                said = {"error": [type(error).__name__, error.reason, error.message]}
            print(json.dumps(said), flush=True)
        group.cancel_scope.cancel()
    for provider in chosen.providers:
        await provider.close()


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1])
