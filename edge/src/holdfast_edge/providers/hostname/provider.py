"""The machine's name: in /etc/hostname for the next boot, in the kernel now, and the one from before us when ours goes."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.hostname.events import run_events
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, UnsupportedError, WireError
from holdfast_protocol.kinds import hostname
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class HostnameProvider:
    """`state`: where the ledger lives. The ledger's note of the file is the kernel's name from before us."""

    kinds: tuple[str, ...] = ("Hostname",)

    def __init__(self, *, state: Path, etc: Path = Path("/etc")) -> None:
        self._path = str(etc / "hostname")
        self._texts = OwnedTexts(etc, state)

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)
        others = sorted(key for key, each in scope.resources.items() if each.kind == "Hostname")
        if others and others[0] != resource.key:
            raise PermanentError(f"the machine's name is already {others[0]}'s", reason="NameTaken")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for this kind."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)
        self._texts.follow([self._path])
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        await anyio.to_thread.run_sync(self._apply, resource)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:  # [inv: only-owned-things-are-removed]
        await anyio.to_thread.run_sync(self._remove, key)

    async def run_watch(self, wake: Wake) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._texts.run_watch, wake)
            group.start_soon(run_events, wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want, now = _want(resource), socket.gethostname()
        found = [said] if (said := self._texts.difference(self._path, hostname.render(want))) else []
        ours = self._texts.key(self._path) == resource.key
        if not found and not ours:
            found.append("file: not ours yet")
        if now != want:
            found.append(f"hostname: is {now}, wanted {want}")
        return Observed(
            key=resource.key,
            exists=ours,
            differences=tuple(found),
            detail={"hostname": now},
            status={"hostname": now},
        )

    def _apply(self, resource: Resource) -> None:
        want = _want(resource)
        before = self._texts.note(self._path) or socket.gethostname()
        self._texts.put(resource.key, self._path, hostname.render(want), note=before)
        _set(want)

    def _remove(self, key: ResourceKey) -> None:
        for path in self._texts.paths(key):
            before = self._texts.note(path)
            if before:
                _set(before)
            self._texts.take_away(path)


def _want(resource: Resource) -> str:
    try:
        return hostname.wanted(resource.spec, resource.name)
    except WireError as error:
        raise failures.refusal(error) from None


def _set(name: str) -> None:
    if socket.gethostname() == name:
        return
    try:
        socket.sethostname(name)
    except OSError as error:
        raise UnsupportedError(
            f"the kernel's name cannot be set: {error.strerror}",
            reason="NotPermitted",
            hint="the agent may not name this machine",
        ) from None
