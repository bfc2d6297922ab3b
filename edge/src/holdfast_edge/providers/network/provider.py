"""Network interfaces: files of systemd-networkd, in effect, and what the kernel shows of them as it should be.

What an interface had before us (addresses, MTU, whether it was up) is in the ledger before the first change, and comes back.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.network import way
from holdfast_edge.providers.network.events import run_events
from holdfast_edge.providers.network.links import Link, Managed, find
from holdfast_edge.providers.network.live import Live
from holdfast_edge.providers.network.standing import differences, standing
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, WireError
from holdfast_protocol.kinds import network_interface
from holdfast_protocol.kinds.network_interface import Wanted
from holdfast_protocol.kinds.way import Way
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_HEAD: Final = "# By Holdfast: changes made here are undone.\n"
_UNDECIDED: Final = frozenset({"unmanaged", "initialized", "linger", ""})


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """With the .network file in the ledger: what is in effect, and what was there before."""

    interface: str
    mac: str = ""
    creates: bool = False
    addresses: tuple[str, ...] = ()  # of ours
    ports: tuple[str, ...] = ()
    before: Link | None = None  # None: there was no such interface
    digest: str = ""  # of the files in effect
    remakes: bool = False  # the interface was made from another text, and is to be made anew


class NetworkInterfaceProvider:
    """`hub`: where the agent reaches it, never cut knowingly. `state`: where the ledger lives."""

    kinds: tuple[str, ...] = ("NetworkInterface",)

    def __init__(self, hub: Way, *, state: Path, etc: Path = Path("/etc"), live: Live | None = None) -> None:
        self._hub = hub
        self._folder = etc / "systemd" / "network"
        self._texts = OwnedTexts(etc, state)
        self._live = live or Live()
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}  # as last seen
        self._names: frozenset[str] = frozenset()
        self._wanted: dict[ResourceKey, tuple[str, Wanted]] = {}

    def check(self, resource: Resource, scope: Scope) -> None:
        """Also by what was last seen of the way to the hub; `apply` looks again."""
        want = self._want(resource)
        self._refuse_shared(resource, want, scope)
        self._refuse_cut(want, way.find_path(self._hub, self._links, resolve=False))

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """See that systemd-networkd is there, and that the way to the hub stays."""
        want = self._want(resource)
        await anyio.to_thread.run_sync(self._prepare, want)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(self._observe, resources)
        self._texts.follow(str(self._folder / file) for each in resources for file in self._files(each))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self._refuse_shared(resource, self._want(resource), scope)
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger. PermanentError HubWay when only what goes leads to the hub."""
        await anyio.to_thread.run_sync(self._remove, key)
        self._wanted.pop(key, None)

    async def revert(self, key: ResourceKey, body: dict[str, Any], before: Resource | None, scope: Scope) -> None:
        """As apply or remove, but for the way to the hub: it was so before."""
        if before is not None:
            await anyio.to_thread.run_sync(partial(self._apply, before, scope, forced=True))
        else:
            await anyio.to_thread.run_sync(partial(self._remove, key, forced=True))
            self._wanted.pop(key, None)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._texts.run_watch, wake)
            group.start_soon(run_events, wake, lambda: self._names)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _prepare(self, want: Wanted) -> None:
        self._live.managed()
        self._refuse_cut(want, way.find_path(self._hub, self._live.links(), resolve=True))

    def _observe(self, resources: Sequence[Resource]) -> dict[ResourceKey, Observed]:
        links = self._live.links()
        down: ProviderError | None = None
        managed: dict[str, Managed] = {}
        try:
            managed = self._live.managed()
        except ProviderError as error:
            down = error
        self._links = links
        found = failures.each_seen(resources, lambda each: self._one(each, links, managed, down))
        wants = [self._wanted[each.key][1] for each in resources if each.key in self._wanted]
        names = {link.name for want in wants if (link := find(links, want.interface, want.mac)) is not None}
        self._names = frozenset(
            {*names, *(want.interface for want in wants if want.interface), *(p for w in wants for p in w.ports)}
        )
        return found

    def _one(
        self, resource: Resource, links: Mapping[str, Link], managed: Mapping[str, Managed], down: ProviderError | None
    ) -> Observed:
        want = self._want(resource)
        files = self._paths(want)
        found = [
            f"{Path(path).name}: {said}" for path, text in files.items() if (said := self._texts.difference(path, text))
        ]
        note = self._note(resource.key)
        ours = any(self._texts.key(path) == resource.key for path in files)
        if not found and (note is None or note.digest != want.digest):
            found.append("files: not in effect yet")
        found += [f"files: {path} is left over" for path in self._texts.paths(resource.key) if path not in files]
        link = find(links, want.interface, want.mac)
        state = managed.get(link.name) if link is not None else None
        stands = standing(want, link, state, links, down, settled=not found, folder=str(self._folder))
        status = {"interface": link.name if link else want.interface, "exists": link is not None}
        if link is not None:
            status |= {
                "mac": link.mac,
                "mtu": link.mtu,
                "addresses": list(link.addresses),
                "state": state.state if state else "",
                "operational": state.operational if state else "",
                "dns": list(state.dns) if state else [],
            }
        return Observed(
            key=resource.key,
            exists=ours,
            differences=(*found, *stands.differences),
            readiness=stands.readiness,
            reason=stands.reason,
            message=stands.message,
            detail=status,
            status=status,
        )

    def _apply(self, resource: Resource, scope: Scope, *, forced: bool = False) -> None:
        want, key = self._want(resource), resource.key
        files = self._paths(want)
        with self._lock:
            for path in files:
                self._texts.claim(resource, path, scope.resources)
            links = self._live.links()
            if not forced:
                self._refuse_cut(want, way.find_path(self._hub, links, resolve=True))
            managed = self._live.managed()
            link = find(links, want.interface, want.mac)
            note = self._note(key)
            moved = note is not None and (note.interface, note.mac) != (want.interface, want.mac)
            if moved:
                self._take_away(key)
                note, links = None, self._live.links()
                link = find(links, want.interface, want.mac)
            if note is None and want.creates and link is not None:
                raise PermanentError(
                    f"there is an interface {link.name} already, and not ours",
                    reason="Foreign",
                    hint="choose another name",
                )
            changed = {path for path, text in files.items() if self._texts.difference(path, text)}
            left = [path for path in self._texts.paths(key) if path not in files]
            before = note.before if note is not None else link
            remakes = note is not None and (
                note.remakes or (note.creates and any(path.endswith(".netdev") for path in (*changed, *left)))
            )
            fresh = Note(
                want.interface, want.mac, want.creates, want.addresses, want.ports, before, remakes=remakes
            )  # before the files: a cut after them leaves no difference to tell it by
            network = self._network_path(key) or next(
                path for path in files if path.endswith(f"-{resource.name}.network")
            )
            self._texts.put(key, network, files[network], note=_said(fresh))
            for path, text in files.items():
                if path != network:
                    self._texts.put(key, path, text)
            for path in left:
                self._texts.take_away(path)
            if remakes and link is not None:
                self._live.delete(link.name)  # a made interface takes a new text only when it is made anew
                link = None
            self._live.reload()
            for each in (link.name if link is not None else "", *want.ports):
                if each in links and not (changed or left) and managed.get(each, _NONE).state not in _UNDECIDED:
                    self._live.reconfigure(each)
            self._texts.annotate(network, _said(msgspec.structs.replace(fresh, digest=want.digest, remakes=False)))
            self._refuse_overruled(want)
            self._await(want)

    def _await(self, want: Wanted) -> None:
        """Give systemd-networkd the moment it needs, so that what is missing after it is missing."""

        def shows() -> bool:
            links = self._live.links()
            link = find(links, want.interface, want.mac)
            if link is None:
                return not want.creates
            return want.unmanaged or not (link.carrier or want.creates) or not differences(want, link, links)

        self._live.wait(shows)

    def _refuse_overruled(self, want: Wanted) -> None:
        link = find(self._live.links(), want.interface, want.mac)
        if link is None or want.unmanaged:
            return
        state = self._live.settled(link.name, self._is_ours)
        if state.file and not self._is_ours(state):
            raise PermanentError(
                f"{state.file} decides over {link.name}, its name sorts before ours",
                reason="Overruled",
                hint="remove it, or rename it to sort after 10-holdfast-",
            )

    def _is_ours(self, state: Managed) -> bool:
        return state.file.startswith(f"{self._folder}/10-holdfast-")

    def _remove(self, key: ResourceKey, *, forced: bool = False) -> None:
        with self._lock:
            note = self._note(key)
            if note is not None and not forced:
                self._refuse_removal(note)
            self._take_away(key)

    def _take_away(self, key: ResourceKey) -> None:  # [inv: only-owned-things-are-removed]
        """Empty the .network first: while its entry stands, a kill leaves the rest to be found and done."""
        note, network = self._note(key), self._network_path(key)
        for path in self._texts.paths(key):
            if path != network:
                self._texts.take_away(path)
        if network is None or note is None:
            return
        self._texts.put(key, network, _HEAD, note=_said(msgspec.structs.replace(note, digest="")))
        try:
            self._live.reload()
        except TransientError as error:
            if error.reason != "NetworkdDown":  # who does not run has nothing of ours in effect
                raise
        self._give_back(note)
        self._texts.take_away(network)

    def _give_back(self, note: Note) -> None:
        links = self._live.links()
        link = find(links, note.interface, note.mac)
        if link is None:
            return
        if note.creates:
            if note.before is None:
                self._live.delete(link.name)
            return
        try:
            state = self._live.settled(link.name, lambda each: not self._is_ours(each))
        except TransientError as error:
            if error.reason != "NetworkdDown":
                raise
            state = _NONE
        if state.state not in _UNDECIDED:
            return  # another file says how it stands now
        before = note.before or Link(link.name)
        for address in link.addresses:
            if address in note.addresses and address not in before.addresses:
                self._live.delete_address(link.name, address)
        if note.before is not None:
            self._live.set_link(link.name, mtu=before.mtu or link.mtu, up=before.up)
            for address in before.addresses:
                self._live.add_address(link.name, address)

    def _refuse_removal(self, note: Note) -> None:  # [inv: agent-is-never-its-own-casualty]
        path = way.find_path(self._hub, self._live.links(), resolve=True)
        if path is None or (path.interface != note.interface and (not note.mac or path.mac != note.mac)):
            return
        before = note.before.addresses if note.before is not None else ()
        if all(each.partition("/")[0] != path.address for each in before):
            raise PermanentError(
                f"the hub is reached from {path.address} on {path.interface}, which was not there before",
                reason="HubWay",
                hint="have another way to the hub first",
            )

    @staticmethod
    def _refuse_cut(want: Wanted, path: way.Path | None) -> None:
        why = way.cut(want, path) if path is not None else ""
        if why:
            raise PermanentError(why, reason="HubWay", hint="keep that address, or have another way to the hub first")

    def _refuse_shared(self, resource: Resource, want: Wanted, scope: Scope) -> None:
        for other in scope.resources.values():
            if other.kind != resource.kind or other.key == resource.key:
                continue
            try:
                theirs = self._want(other)
            except PermanentError:  # it says so itself
                continue
            same = (theirs.interface, theirs.mac) == (want.interface, want.mac)
            if (same and other.key < resource.key) or want.interface in theirs.ports:
                raise PermanentError(f"{want.interface or want.mac} is already {other.key}'s", reason="NameTaken")

    def _note(self, key: ResourceKey) -> Note | None:
        path = self._network_path(key)
        try:
            return msgspec.json.decode(self._texts.note(path) or "", type=Note) if path is not None else None
        except msgspec.DecodeError:
            return None  # of another version: what it told of is no longer known

    def _network_path(self, key: ResourceKey) -> str | None:
        """Return the file that carries the note."""
        return next((path for path in self._texts.paths(key) if self._texts.note(path)), None)

    def _paths(self, want: Wanted) -> dict[str, str]:
        return {str(self._folder / file): _HEAD + text for file, text in want.files.items()}

    def _files(self, resource: Resource) -> tuple[str, ...]:
        known = self._wanted.get(resource.key)
        return tuple(known[1].files) if known is not None else ()

    def _want(self, resource: Resource) -> Wanted:
        known = self._wanted.get(resource.key)
        if known is not None and known[0] == resource.digest:
            return known[1]
        try:
            want = network_interface.wanted(resource.spec, resource.name)
        except WireError as error:
            raise failures.refusal(error) from None
        self._wanted[resource.key] = (resource.digest, want)
        return want


_NONE: Final = Managed("", "", "")


def _said(note: Note) -> str:
    return msgspec.json.encode(note).decode()
