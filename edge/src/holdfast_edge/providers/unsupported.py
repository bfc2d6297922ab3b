"""Kinds this machine cannot do: refused with the reason, so that the rest of the target goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class UnsupportedProvider:
    """`why` says what is missing here: "no container engine answers at unix:///run/docker.sock"."""

    def __init__(self, kinds: tuple[str, ...], why: str, *, reason: str = "Unsupported", hint: str = "") -> None:
        self.kinds = kinds
        self._why = why
        self._reason = reason
        self._hint = hint

    def check(self, resource: Resource, scope: Scope) -> None:
        raise self._error(resource.key)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return {
            resource.key: Observed(
                key=resource.key,
                exists=False,
                differences=(f"kind: {self._why}",),
                readiness="degraded",
                reason=self._reason,
                message=self._why,
            )
            for resource in resources
        }

    async def apply(self, resource: Resource, scope: Scope) -> None:
        raise self._error(resource.key)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """Raises: whether something of ours is there cannot be known without what is missing."""
        raise self._error(key)

    async def run_watch(self, wake: Wake) -> None:
        """Nothing here can change."""

    async def close(self) -> None:
        """Nothing is open."""

    def _error(self, key: ResourceKey) -> UnsupportedError:
        return UnsupportedError(self._why, reason=self._reason, resource=key, hint=self._hint)
