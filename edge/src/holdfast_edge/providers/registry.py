"""Registry: which provider does which kind on this machine.

A provider is made, and what it needs imported, when a resource of its kinds is first asked for: a site without containers
pays nothing for them, whatever its settings allow.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from holdfast_edge.core import own as own_
from holdfast_edge.core.own import Own
from holdfast_edge.providers.port import Provider, Scope
from holdfast_edge.providers.unsupported import UnsupportedProvider
from holdfast_protocol.errors import UnsupportedError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

NOTHING: Final = Own()


class Offer(msgspec.Struct, frozen=True):
    """A provider to be made on first use. `make` raises UnsupportedError for what this machine lacks."""

    kinds: tuple[str, ...]
    make: Callable[[], Provider]


class Registry:
    """`own`: what no resource may take or change, whatever its kind. For the event loop's thread alone."""

    def __init__(self, providers: Sequence[Provider], own: Own = NOTHING, offers: Sequence[Offer] = ()) -> None:
        self._own = own
        self._by_kind = {kind: provider for provider in providers for kind in provider.kinds}
        self._offers = {kind: offer for offer in offers for kind in offer.kinds}
        self.providers = list(providers)  # that there are so far
        self.on_made: Callable[[Provider], None] | None = None  # told of each that is made from now on

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds somebody does, or says why not."""
        return frozenset(self._by_kind) | frozenset(self._offers)

    def provider(self, key: ResourceKey) -> Provider:
        """Return who does the kind of `key`; for one nobody does, a provider that says so."""
        kind = key.partition("/")[0]
        known = self._by_kind.get(kind)
        if known is None:
            known = self._made(kind)
            self._by_kind |= dict.fromkeys(known.kinds, known)
            self.providers.append(known)
            if self.on_made is not None:
                self.on_made(known)
        return known

    def _made(self, kind: str) -> Provider:
        offer = self._offers.get(kind)
        if offer is None:
            why = f"this agent does nothing for kind {kind[:80]}"
            return UnsupportedProvider((kind,), why, reason="UnknownKind")
        try:
            return offer.make()
        except UnsupportedError as error:
            return UnsupportedProvider(offer.kinds, error.message, reason=error.reason, hint=error.hint)

    def check(self, resource: Resource, scope: Scope) -> None:
        """Raise PermanentError or UnsupportedError for what could never be applied here: first what would harm the agent,
        then what its provider says. [inv: agent-is-never-its-own-casualty]"""
        own_.refuse(self._own, resource)
        self.provider(resource.key).check(resource, scope)
