"""Firewalls: a table of nftables for each, replaced whole in one transaction. Other tables are never touched.

The table's name is what makes it ours: nobody else's begins with holdfast_. The text that made it is kept in
/etc/nftables.d, for whoever loads rules at boot; the agent itself loads it again when it starts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.firewall.events import run_events
from holdfast_edge.providers.firewall.listing import listing_digest
from holdfast_edge.providers.firewall.nft import Nft
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import firewall
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_HEAD: Final = "# By Holdfast: changes made here are undone.\n"
_OPEN: Final = "loopback, established connections and {host} port {port} stay open whatever the rules say"


class Wanted(msgspec.Struct, frozen=True):
    table: str
    text: str
    digest: str  # of the text


class FirewallProvider:
    """`way`: where the agent reaches its hub, kept open. `state`: where the ledger lives; its note of a file says which
    text was loaded and what nft listed right after."""

    kinds: tuple[str, ...] = ("Firewall",)

    def __init__(self, way: Way, *, state: Path, etc: Path = Path("/etc"), nft: Nft | None = None) -> None:
        self._way = way
        self._folder = etc / "nftables.d"
        self._texts = OwnedTexts(etc, state)
        self._nft = nft or Nft()
        self._wanted: dict[ResourceKey, tuple[str, Wanted]] = {}

    def check(self, resource: Resource, scope: Scope) -> None:
        self._want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Have the kernel parse the whole text."""
        await anyio.to_thread.run_sync(self._nft.check, self._want(resource).text)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)
        self._texts.follow(self._path(each.name) for each in resources if is_name(each.name))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: the table, then its file."""
        await anyio.to_thread.run_sync(self._remove, key)
        self._wanted.pop(key, None)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._texts.run_watch, wake)
            group.start_soon(run_events, wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want, path = self._want(resource), self._path(resource.name)
        listing = self._nft.listing(want.table)
        found = [said] if (said := self._texts.difference(path, want.text)) else []
        if listing is None:
            found.append("table: not loaded")
        else:
            note = self._texts.note(path) or ""
            if self._texts.key(path) != resource.key or not note.startswith(want.digest):
                found.append("table: not in effect yet")
            elif note != _note(want, listing):
                found.append("table: was edited")
        return Observed(
            key=resource.key,
            exists=listing is not None,
            differences=tuple(found),
            message=_OPEN.format(host=self._way.host, port=self._way.port),
            detail={"table": f"inet {want.table}", "file": path},
            status={"table": f"inet {want.table}", "loaded": listing is not None},
        )

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want, path = self._want(resource), self._path(resource.name)
        self._texts.claim(resource, path, scope.resources)
        self._nft.check(want.text)
        self._texts.put(resource.key, path, want.text)  # its note is empty until the table was loaded and seen
        self._nft.load(want.text)
        listing = self._nft.listing(want.table)
        if listing is not None:
            self._texts.annotate(path, _note(want, listing))

    def _remove(self, key: ResourceKey) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._texts.paths(key):
            self._nft.load(firewall.deletion(Path(path).stem.removeprefix("holdfast-")))
            self._texts.take_away(path)

    def _path(self, name: str) -> str:
        return str(self._folder / f"holdfast-{name}.nft")

    def _want(self, resource: Resource) -> Wanted:
        known = self._wanted.get(resource.key)
        if known is not None and known[0] == resource.digest:
            return known[1]
        try:
            table = firewall.table_of(resource.name)
            text = _HEAD + firewall.render(resource.spec, resource.name, self._way)
        except WireError as error:
            raise failures.refusal(error) from None
        want = Wanted(table, text, digest(text))
        self._wanted[resource.key] = (resource.digest, want)
        return want


def _note(want: Wanted, listing: bytes) -> str:
    return f"{want.digest} {listing_digest(listing)}"
