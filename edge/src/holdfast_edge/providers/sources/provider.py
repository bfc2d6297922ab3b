"""DeviceSources: a wanted source is kept with all it refers to; a loop elsewhere takes from it, and says how it does."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread

from holdfast_edge.core.observed import Readiness
from holdfast_edge.core.sources import SourceState
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.references import referred_text
from holdfast_edge.store.sources import Kept, Sources
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import device_source
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_HINTS = {
    "Unreachable": "does the broker run, and may this node reach it?",
    "Refused": "are the user name and the password right?",
    "TakenOver": "does another client use this client id?",
    "NotTrusted": "is tls.ca the one the broker's certificate is of?",
}


class DeviceSourceProvider:
    """`sources`: where what is wanted is kept, and what the loops report."""

    kinds: tuple[str, ...] = ("DeviceSource",)

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()

    def check(self, resource: Resource, scope: Scope) -> None:
        want = _resolved(resource, scope)
        address = _address(want.spec)
        if address is not None:
            twins = [
                key for key, each in scope.resources.items() if key != resource.key and _address(each.spec) == address
            ]
            if others := [key for key in twins if key.startswith("DeviceSource/") and key < resource.key]:
                raise PermanentError(f"spec.http.port: {others[0]} listens there already", reason="PortTaken")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched: what cannot be reached now may be later."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(failures.each_seen, resources, lambda each: self._one(each, scope))

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        want = _resolved(resource, scope)
        await anyio.to_thread.run_sync(self._put, want)
        self._sources.tell()

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:  # [inv: only-owned-things-are-removed]
        await anyio.to_thread.run_sync(self._forget, key)
        self._sources.tell()

    async def run_watch(self, wake: Wake) -> None:
        self._sources.on_change = wake
        await anyio.sleep_forever()

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _put(self, want: Kept) -> None:
        with self._lock:
            try:
                self._sources.put(want)
            except OSError as error:
                raise failures.provider_error(error, want.key) from None

    def _forget(self, key: ResourceKey) -> None:
        with self._lock:
            try:
                self._sources.forget(key)
            except OSError as error:
                raise failures.provider_error(error, key) from None

    def _one(self, resource: Resource, scope: Scope) -> Observed:
        want = _resolved(resource, scope)
        kept = self._sources.kept.get(resource.key)
        if kept is None:
            return Observed(resource.key, False, ("spec: nothing is taken from it yet",))
        differences = () if kept.digest == want.digest else ("spec: is not what is taken by",)
        state = self._sources.states.get(resource.key) or SourceState()
        readiness, message = _readiness(state)
        shown = shown_state(state)
        return Observed(
            resource.key, True, differences, readiness, state.reason if readiness == "degraded" else "",
            message, _HINTS.get(state.reason, "") if readiness == "degraded" else "", detail=shown, status=shown,
        )  # fmt: skip


def shown_state(state: SourceState) -> dict[str, Any]:
    """Return a source's state as its `status` says it."""
    return {
        "phase": state.phase,
        "connected": state.phase in ("connected", "waiting"),
        "reason": state.reason,
        "messages": state.messages,
        "readings": state.readings,
        "perSecond": state.per_s,
        "dropped": state.dropped,
        "shaped": state.shaped,
        "repeated": state.repeated,
        "rejected": sum(each.count for each in state.rejected.values()),
        "rejectedBy": {reason: each.count for reason, each in sorted(state.rejected.items())},
        "lastMessageAt": state.last_message_at,
        "ordersReason": state.orders,
    }


def _readiness(state: SourceState) -> tuple[Readiness, str]:
    match state.phase:
        case "connected":
            return "ready", ""
        case "starting" | "connecting" if not state.reason:
            return "progressing", "connecting"
        case _:
            return "degraded", state.problem


def _resolved(resource: Resource, scope: Scope) -> Kept:
    try:
        want = device_source.wanted(resource.spec, resource.name)
        texts = {
            place: referred_text(material, f"spec.{want.type}.{place}", resource, scope)
            for place, material in want.materials.items()
            if not material.path
        }
    except WireError as error:
        raise failures.refusal(error) from None
    digest = digest_bytes(strict.encode([resource.spec, texts]))
    return Kept(resource.key, resource.name, resource.spec, texts, digest)


def _address(spec: dict[str, Any]) -> tuple[str, object] | None:
    http = spec.get("http")
    return (str(http.get("address", "127.0.0.1")), http.get("port")) if isinstance(http, dict) else None
