"""Insight: what a person at the site may see beside state and plan: readings, what was done, what workloads wrote."""

from typing import Final

from holdfast_edge.providers.port import Logbook
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.site import Site
from holdfast_edge.store.journal import Line
from holdfast_edge.store.newest import Newest
from holdfast_protocol.errors import MisuseError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.readings import Reading

MAX_LINES: Final = 1000
MAX_LOGS: Final = 256 * 1024  # characters of an answer; the newest are kept
MAX_ROWS: Final = 1000
WITHIN: Final = 15.0  # seconds for a provider to find its logs


class Insight:
    def __init__(self, site: Site, registry: Registry, newest: Newest) -> None:
        self._site = site
        self._registry = registry
        self._newest = newest

    def readings(self, device: str, metric: str, limit: int) -> list[Reading]:
        """Return the newest reading of each series of a device and metric, "" for any."""
        return self._newest.readings(device, metric, min(limit or MAX_ROWS, MAX_ROWS))

    async def journal(self, limit: int) -> list[Line]:
        """Return the changes made last, the newest first."""
        return await self._site.journal.recent(min(limit or 50, MAX_ROWS))

    async def logs(self, key: ResourceKey, lines: int) -> str:
        """Return what a resource wrote last. Raises MisuseError (NotFound, NoLogs), and ProviderError."""
        thing = self._site.owned.things.get(key)
        if thing is None:
            raise MisuseError(f"{key[:200]} is not applied here", reason="NotFound", hint="holdfast-edge status")
        provider = self._registry.provider(key)
        if not isinstance(provider, Logbook):
            kind = key.partition("/")[0]
            raise MisuseError(f"a {kind} writes no logs", reason="NoLogs")
        bounded = max(1, min(lines or 100, MAX_LINES))
        text = await asked(provider.logs(key, thing.body, bounded), within=WITHIN, phase="logs", resource=key)
        return text[-MAX_LOGS:]
