"""Directories: that they are there, with mode and owner, inside the allowed folders. What is in them is not looked at."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.folders import OwnedFolders
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.replace import KEEP
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.files.accounts import Accounts
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import HoldfastError, PermanentError, WireError
from holdfast_protocol.kinds import directory
from holdfast_protocol.kinds.directory import Wanted
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class DirectoryProvider:
    """`roots`: where directories may be; `denied`: the agent's own files and folders; `state`: where the ledger lives."""

    kinds: tuple[str, ...] = ("Directory",)

    def __init__(self, *, roots: Sequence[Path], denied: Sequence[Path], state: Path) -> None:
        self._roots = Roots(roots, [*denied, state])
        self._owned = OwnedFolders(Ledger(state), self._roots)
        self._watch = PathWatch(lambda path: self._roots.folders(self._roots.place(path)))

    def check(self, resource: Resource, scope: Scope) -> None:
        self._roots.place(_wanted(resource).path)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found, paths = await anyio.to_thread.run_sync(self._observe, resources)
        self._watch.follow(paths)
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger, not by `body`. A directory of ours with something in it stays."""
        await anyio.to_thread.run_sync(self._remove, key, frozenset[str]())

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _observe(self, resources: Sequence[Resource]) -> tuple[dict[ResourceKey, Observed], set[str]]:
        accounts = Accounts()
        found: dict[ResourceKey, Observed] = {}
        paths = set(self._owned.paths())
        several = self._owned.several()
        for resource in resources:
            try:
                want = _wanted(resource)
                self._roots.place(want.path)
                paths.add(want.path)
                found[resource.key] = _observed(resource.key, want, accounts, several.get(resource.key, ()))
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
            except OSError as error:
                found[resource.key] = failures.unseen(resource.key, failures.provider_error(error, want.path))
        return found, paths

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want = _wanted(resource)
        entry = self._owned.entry(want.path)
        if entry is not None and entry.key != resource.key and entry.key in scope.resources:
            other = scope.resources[entry.key]
            if other.spec.get("path") == want.path:
                raise PermanentError(f"{want.path} is already kept by {other.key}", reason="PathTaken")
        accounts = Accounts()
        uid, gid = accounts.number("owner", want.owner), accounts.number("group", want.group)
        self._owned.put(resource.key, want.path, mode=want.mode, uid=uid, gid=gid)
        self._remove(resource.key, frozenset({want.path}))

    def _remove(self, key: ResourceKey, keep: frozenset[str]) -> None:
        for path in sorted(self._owned.paths(key), key=len, reverse=True):
            if path not in keep:
                self._owned.take_away(path)


def _observed(key: ResourceKey, want: Wanted, accounts: Accounts, held: Sequence[str]) -> Observed:
    uid, gid = accounts.number("owner", want.owner), accounts.number("group", want.group)
    detail = {"path": want.path}
    try:
        seen = os.lstat(want.path)
    except (FileNotFoundError, NotADirectoryError):
        return Observed(key=key, exists=False, differences=("path: nothing is there",), detail=detail)
    found = [f"path: {path} is left over" for path in held if path != want.path]
    mode = stat.S_IMODE(seen.st_mode)
    if not stat.S_ISDIR(seen.st_mode):
        found.append("path: no folder stands there")
    elif want.mode is not None and mode != want.mode:
        found.append(f"mode: is {mode:04o}, wanted {want.mode:04o}")
    if uid not in {KEEP, seen.st_uid}:
        found.append(f"owner: is {seen.st_uid}, wanted {want.owner}")
    if gid not in {KEEP, seen.st_gid}:
        found.append(f"group: is {seen.st_gid}, wanted {want.group}")
    status = {"path": want.path, "mode": f"{mode:04o}", "owner": seen.st_uid, "group": seen.st_gid}
    return Observed(key=key, exists=True, differences=tuple(found), detail=detail, status=status)


def _wanted(resource: Resource) -> Wanted:
    try:
        return directory.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
