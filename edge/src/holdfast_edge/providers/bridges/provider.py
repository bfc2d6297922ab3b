"""Bridges: a wanted bridge is kept with all it refers to; a loop elsewhere runs it, and says how it does."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.references import referred_text
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.sources import Kept
from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_HINTS = {
    "Unreachable": "does the broker run, and may this node reach it?",
    "Refused": "are the user name and the password right, and may this client use these topics?",
    "TakenOver": "does another client use this client id?",
    "NotTrusted": "is tls.ca the one the broker's certificate is of?",
}


class BridgeProvider:
    """`place` is this node and the broker of its own; `bridges` where what is wanted is kept."""

    kinds: tuple[str, ...] = ("Bridge",)

    def __init__(self, bridges: Bridges, place: Place) -> None:
        self._bridges = bridges
        self._place = place
        self._lock = threading.Lock()

    def check(self, resource: Resource, scope: Scope) -> None:
        self._resolved(resource, scope)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched: what cannot be reached now may be later."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(failures.each_seen, resources, lambda each: self._one(each, scope))

    async def apply(self, resource: Resource, scope: Scope) -> None:
        want = self._resolved(resource, scope)
        await anyio.to_thread.run_sync(self._put, want)
        self._bridges.files.tell()

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:  # [inv: only-owned-things-are-removed]
        await anyio.to_thread.run_sync(self._forget, key)
        self._bridges.files.tell()

    async def run_watch(self, wake: Wake) -> None:
        self._bridges.files.on_change = wake
        await anyio.sleep_forever()

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _put(self, want: Kept) -> None:
        with self._lock:
            try:
                self._bridges.files.put(want)
            except OSError as error:
                raise failures.provider_error(error, want.key) from None

    def _forget(self, key: ResourceKey) -> None:
        with self._lock:
            try:
                self._bridges.forget(key)
            except OSError as error:
                raise failures.provider_error(error, key) from None

    def _one(self, resource: Resource, scope: Scope) -> Observed:
        want = self._resolved(resource, scope)
        kept = self._bridges.files.kept.get(resource.key)
        if kept is None:
            return Observed(resource.key, False, ("spec: nothing goes over yet",))
        differences = () if kept.digest == want.digest else ("spec: is not what goes over",)
        state = self._bridges.states.get(resource.key) or BridgeState(resource.name)
        reason, problem = state.trouble()
        readiness: Readiness = "degraded" if reason else "ready" if state.is_connected else "progressing"
        shown = shown_state(state)
        message = problem or ("" if readiness == "ready" else "connecting")
        return Observed(
            resource.key, True, differences, readiness, reason, message, _HINTS.get(reason, ""), detail=shown, status=shown
        )  # fmt: skip

    def _resolved(self, resource: Resource, scope: Scope) -> Kept:
        try:
            want = bridge.at_site(resource.spec, resource.name, self._place)
        except WireError as error:
            raise failures.refusal(error) from None
        if want.spec.run == "hub":
            raise PermanentError(
                "spec.run: hub is for a Bridge of its own", reason="InvalidSpec", hint="apply it alone"
            )
        if want.spec.local is None and self._place.host == "" and (want.into or not _only_readings(want)):
            hint = "name spec.local, or [devices] in edge.toml"
            raise PermanentError("spec.local: this node has no broker of its own", reason="NoBroker", hint=hint)
        texts = {
            place: referred_text(material, f"spec.{place}", resource, scope)
            for place, material in want.materials.items()
            if not material.path
        }
        digest = digest_bytes(strict.encode([resource.spec, texts]))
        return Kept(resource.key, resource.name, resource.spec, texts, digest)


def _only_readings(want: bridge.Wanted) -> bool:
    return all(each.of_readings for each in want.out)


def shown_state(state: BridgeState) -> dict[str, Any]:
    """Return a bridge's state as its `status` says it."""
    said = state.status(0.0)
    ways = {
        name: {"received": way.received, "sent": way.sent, "waiting": way.waiting, "dropped": way.dropped}
        for name, way in said.ways.items()
    }
    sides: dict[str, Any] = {name: msgspec.to_builtins(side) for name, side in state.sides.items()}
    return {"connected": said.connected, "reason": said.reason, **sides, "ways": ways}
