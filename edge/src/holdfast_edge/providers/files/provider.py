"""Files: content, mode and owner of single files inside the allowed folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.looks import Look, Looks
from holdfast_edge.providers.disk.owned import Owned
from holdfast_edge.providers.disk.replace import KEEP
from holdfast_edge.providers.disk.turns import in_turn
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.files.accounts import Accounts
from holdfast_edge.providers.files.wanted import Wanted, reference, wanted
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import HoldfastError, PermanentError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_NOTHING: Final = "nothing is there"


class FileProvider:
    """`roots`: where files may be; `denied`: the agent's own files and folders; `state`: where the ledger lives."""

    kinds: tuple[str, ...] = ("File",)

    def __init__(self, *, roots: Sequence[Path], denied: Sequence[Path], state: Path) -> None:
        self._roots = Roots(roots, [*denied, state])
        self._owned = Owned(Ledger(state), self._roots)
        self._looks = Looks()
        self._watch = PathWatch(lambda path: self._roots.folders(self._roots.place(path)))
        self._wanted: dict[ResourceKey, tuple[str, str, Wanted]] = {}  # with the digests of both sources
        self._inside: set[str] = (
            set()
        )  # of the paths looked at: found to be inside the roots, which is about text alone

    def check(self, resource: Resource, scope: Scope) -> None:
        self._roots.place(self._want(resource, scope).path)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found, paths = await in_turn(self._observe, resources, scope)
        self._watch.follow(paths)
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger, not by `body`: a path that another resource has taken over stays."""
        await anyio.to_thread.run_sync(self._remove, key, frozenset[str]())
        self._wanted.pop(key, None)

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _observe(self, resources: Sequence[Resource], scope: Scope) -> tuple[dict[ResourceKey, Observed], set[str]]:
        accounts = Accounts()
        found: dict[ResourceKey, Observed] = {}
        paths = set(self._owned.paths())
        several = self._owned.several()
        for resource in resources:
            try:
                want = self._want(resource, scope)
                if want.path not in self._inside:
                    self._roots.place(want.path)
                    self._inside.add(want.path)
                paths.add(want.path)
                found[resource.key] = self._one(resource.key, want, accounts, several.get(resource.key, ()))
            except HoldfastError as error:
                found[resource.key] = failures.unseen(resource.key, error)
            except OSError as error:
                found[resource.key] = failures.unseen(resource.key, failures.provider_error(error, want.path))
        self._looks.keep_only(paths)
        self._inside &= paths
        return found, paths

    def _one(self, key: ResourceKey, want: Wanted, accounts: Accounts, held: Sequence[str]) -> Observed:
        uid, gid = accounts.number("owner", want.owner), accounts.number("group", want.group)
        look = self._looks.look(want.path, len(want.content))
        if look is None:
            return Observed(key=key, exists=False, differences=(f"path: {_NOTHING}",), detail={"path": want.path})
        left = [f"path: {path} is left over" for path in held if path != want.path]
        return Observed(
            key=key,
            exists=True,
            differences=(*_differences(look, want, uid, gid), *left),
            detail={"path": want.path},
            status=_status(look, want),
        )

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want = self._want(resource, scope)
        self._refuse_shared(resource, want, scope)
        accounts = Accounts()
        self._owned.put(
            resource.key,
            want.path,
            want.content,
            mode=want.mode,
            uid=accounts.number("owner", want.owner),
            gid=accounts.number("group", want.group),
        )
        self._remove(resource.key, frozenset({want.path}))

    def _refuse_shared(self, resource: Resource, want: Wanted, scope: Scope) -> None:
        """Two resources of one path would overwrite each other for ever."""
        entry = self._owned.entry(want.path)
        other = scope.resources.get(entry.key) if entry is not None and entry.key != resource.key else None
        if other is not None and other.kind == "File" and other.spec.get("path") == want.path:
            raise PermanentError(f"{want.path} is already written by {other.key}", reason="PathTaken")

    def _remove(self, key: ResourceKey, keep: frozenset[str]) -> None:
        for path in self._owned.paths(key):
            if path not in keep:
                self._owned.take_away(path)

    def _want(self, resource: Resource, scope: Scope) -> Wanted:
        source = reference(resource)
        other = scope.resources.get(source) if source is not None else None
        digests = (resource.digest, other.digest if other is not None else "")
        known = self._wanted.get(resource.key)
        if known is not None and known[:2] == digests:
            return known[2]
        want = wanted(resource, scope)
        self._wanted[resource.key] = (*digests, want)
        return want


def _status(look: Look, want: Wanted) -> dict[str, Any]:
    known = {"sha256": look.digest} if look.digest else {}
    return {
        "path": want.path,
        "size": look.size,
        "mode": f"{look.mode:04o}",
        "owner": look.uid,
        "group": look.gid,
        **known,
    }


def _differences(look: Look, want: Wanted, uid: int, gid: int) -> tuple[str, ...]:
    if look.kind != "file":
        return (f"path: a {look.kind} stands there" if look.kind == "link" else "path: no file stands there",)
    found = []
    if look.digest != want.digest:
        found.append("content: differs")
    if want.mode is not None and look.mode != want.mode:
        found.append(f"mode: is {look.mode:04o}, wanted {want.mode:04o}")
    if uid not in {KEEP, look.uid}:
        found.append(f"owner: is {look.uid}, wanted {want.owner}")
    if gid not in {KEEP, look.gid}:
        found.append(f"group: is {look.gid}, wanted {want.group}")
    return tuple(found)
