"""Observe: ask every provider at once, each with its own deadline; who does not answer blinds only its own resources."""

from collections.abc import Mapping, Sequence

import anyio
import anyio.abc
import msgspec

from holdfast_edge.core.observed import Observed, in_text
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class Sight(msgspec.Struct, frozen=True):
    """What was seen, and which keys nobody could look at, with why."""

    observed: Mapping[ResourceKey, Observed]
    blind: Mapping[ResourceKey, Condition]


class Observer:
    """A provider that is still looking when its deadline has passed is not asked again before it returns."""

    def __init__(self, registry: Registry, *, deadline: float) -> None:
        """`deadline` is in seconds for one provider."""
        self._registry = registry
        self._deadline = deadline
        self._looking: dict[int, anyio.Event] = {}

    async def look(self, group: anyio.abc.TaskGroup, scope: Scope) -> Sight:
        """Return how everything wanted is now. `group` outlives the look, for those that do not end in time."""
        shares: dict[int, tuple[Provider, list[Resource]]] = {}
        for resource in scope.resources.values():
            provider = self._registry.provider(resource.key)
            shares.setdefault(id(provider), (provider, []))[1].append(resource)
        seen: dict[ResourceKey, Observed] = {}
        failed: dict[int, ProviderError] = {}
        begun = []
        for number, (provider, resources) in shares.items():
            if number not in self._looking:
                self._looking[number] = done = anyio.Event()
                begun.append(done)
                group.start_soon(self._ask, number, provider, resources, scope, seen, failed)
        with anyio.move_on_after(self._deadline * 1.1):  # a little longer than who can be cancelled needs
            for done in begun:
                await done.wait()
        blind = {
            resource.key: _why(failed.get(number))
            for number, (_, resources) in shares.items()
            for resource in resources
            if resource.key not in seen
        }
        return Sight(dict(seen), blind)

    async def _ask(
        self,
        number: int,
        provider: Provider,
        resources: Sequence[Resource],
        scope: Scope,
        seen: dict[ResourceKey, Observed],
        failed: dict[int, ProviderError],
    ) -> None:
        try:
            found = await asked(provider.observe(resources, scope), within=self._deadline, phase="observe")
            seen.update({key: _shown(each) for key, each in found.items()})
        except ProviderError as error:
            failed[number] = error
        finally:
            self._looking.pop(number).set()


def _shown(seen: Observed) -> Observed:
    try:
        msgspec.json.encode(seen)
    except UnicodeEncodeError:
        plain: Observed = in_text(seen)
        return plain
    except (TypeError, OverflowError):  # in its status, which nothing but expressions read
        return seen
    return seen


def _why(error: ProviderError | None) -> Condition:
    if error is None:
        return Condition("Degraded", "NotLookedAt", "its provider has not answered yet")
    return Condition("Degraded", error.reason, error.message, hint=error.hint)
