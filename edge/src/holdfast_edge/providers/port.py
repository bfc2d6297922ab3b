"""The provider port: how the loop sees and changes what a machine is.

A provider owns some kinds. It compares only the fields the target sets, removes only what it made, and never imports
another provider. Errors arrive typed: TransientError (again after a while), PermanentError (not before the target or the
machine changes), UnsupportedError (never here).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from holdfast_edge.core.observed import Observed as Observed
from holdfast_edge.core.observed import Readiness as Readiness
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class Scope(msgspec.Struct, frozen=True):
    """What a resource may refer to: the whole target by key, and what is applied of it.

    `previous` is the body of the same resource as last applied, None on the first time.
    """

    resources: Mapping[ResourceKey, Resource]
    previous: Mapping[ResourceKey, dict[str, Any]] = {}


Wake = Callable[[], None]


class Provider(Protocol):
    """Every method may be called again at any time, also after a kill in the middle: each is idempotent."""

    kinds: tuple[str, ...]

    def check(self, resource: Resource, scope: Scope) -> None:
        """Raise PermanentError or UnsupportedError, with path and hint, for what could never be applied. Changes nothing."""
        ...

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Fetch and try all that `apply` will need, and change nothing that runs: images pulled, a rule set parsed by
        the kernel, a unit verified. Raises as `check`, or TransientError where it may work later. Cheap when done before."""
        ...

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        """Return how each resource is now. Raises only when nothing at all can be looked at (the engine is down);
        one resource that cannot be is returned with readiness `degraded`, its reason and a difference saying so."""
        ...

    async def apply(self, resource: Resource, scope: Scope) -> None:
        """Make it so, from whatever is there. Returns when the change is made, not when it is ready."""
        ...

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """Take away what `apply` made from `body`. Absent already is success."""
        ...

    async def run_watch(self, wake: Wake) -> None:
        """Call `wake` when something changed that may concern us, until cancelled. Returns at once when the system
        has no events; the periodic look finds what events miss. Survives restarts of what it watches."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Finder(Protocol):
    """What a provider may do besides: look for objects of its kinds that no target made, for an externalRef."""

    async def find(self, kind: str, name: str, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the object of that name, or with "" all of the kind, each with apiVersion, kind, metadata.name (and what
        it has of labels) and status; empty when there is none. Raises when nobody can tell."""
        ...


@runtime_checkable
class Logbook(Protocol):
    """What a provider may do besides: show what a resource of its kinds wrote last."""

    async def logs(self, key: ResourceKey, body: dict[str, Any], lines: int) -> str:
        """Return the last lines, at most so many, of what `apply` made from `body`; "" when it wrote nothing. Raises when
        nobody can tell."""
        ...


@runtime_checkable
class Reverter(Protocol):
    """What a provider does besides whose `apply` or `remove` would refuse to go back from a change that failed its trial."""

    async def revert(self, key: ResourceKey, body: dict[str, Any], before: Resource | None, scope: Scope) -> None:
        """Take away what `apply` made from `body`, or make it as `before` says again, whatever that does to the way to the
        hub: it was so before."""
        ...
