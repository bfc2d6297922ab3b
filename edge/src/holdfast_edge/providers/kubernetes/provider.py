"""Manifests for the site's own API server: applied as one manager of fields among others, pruned by the ledger.

Whether an object is as wanted is asked of the server: it is when applying ours again, dry, would change nothing. So what
others have said of other fields stays, and what the server makes of a value is no difference. Asked again only when the
object's resourceVersion, or the manifest, is another.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_edge.providers.kubernetes import objects
from holdfast_edge.providers.kubernetes.access import Access
from holdfast_edge.providers.kubernetes.api import MANAGER, Api
from holdfast_edge.providers.kubernetes.watching import Watching
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import kubernetes
from holdfast_protocol.kinds.kubernetes import Manifest, Wanted
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_WORST: tuple[Readiness, ...] = ("ready", "progressing", "degraded")


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ledger keeps of an object. `found`: it was there before us, and stays."""

    api_version: str
    kind: str
    found: bool = False
    uid: str = ""
    applied: str = ""  # digest of the manifest last applied


class KubernetesProvider:
    """`state`: where the ledger lives; it knows an object by its path at the server."""

    kinds: tuple[str, ...] = ("Kubernetes",)

    def __init__(self, access: Access, *, state: Path) -> None:
        self._api = Api(access)
        self._ledger = Ledger(state)
        self._watching = Watching(self._api)
        self._places: dict[str, dict[str, tuple[str, bool]]] = {}  # by apiVersion: plural and namespaced by kind
        self._same: dict[str, tuple[str, str]] = {}  # by path: manifest and resourceVersion that were found equal
        self._lock = threading.Lock()

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._try, resource)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        followed: set[tuple[str, str]] = set()

        def look() -> dict[ResourceKey, Observed]:
            return failures.each_seen(resources, lambda each: self._one(each, followed))

        found = await anyio.to_thread.run_sync(look)
        self._watching.follow(followed)
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: what we made is deleted, of what was there our fields are let go."""
        await anyio.to_thread.run_sync(self._prune, key, frozenset[str]())

    async def run_watch(self, wake: Wake) -> None:
        await self._watching.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource, followed: set[tuple[str, str]]) -> Observed:
        want = _want(resource)
        differences: list[str] = []
        state: tuple[Readiness, str, str] = ("ready", "", "")
        said, paths, there = [], set(), 0
        for manifest in want.manifests:
            path = self._path(manifest)
            if not path:
                differences.append(
                    f"{manifest.title}: the server has no kind {manifest.kind} of {manifest.api_version}"
                )
                continue
            paths.add(path)
            followed.add((path.rpartition("/")[0], manifest.name))
            body = self._api.get(path)
            if body is None:
                differences.append(f"{manifest.title}: is not there")
                continue
            there += 1
            differences += [
                f"{manifest.title}: {each}" for each in self._differences(resource.key, manifest, path, body)
            ]
            ready = objects.readiness(body)
            if _WORST.index(ready[0]) > _WORST.index(state[0]):
                state = (ready[0], ready[1], f"{manifest.title}: {ready[2]}")
            said.append({"object": manifest.title, "ready": ready[0] == "ready", "status": body.get("status") or {}})
        differences += [f"{path}: is left over" for path in self._paths(resource.key) if path not in paths]
        readiness, reason, message = state
        status = {"objects": said}
        return Observed(resource.key, bool(there), tuple(differences), readiness, reason, message, status=status)

    def _differences(self, key: ResourceKey, manifest: Manifest, path: str, body: dict[str, Any]) -> list[str]:
        version = str((body.get("metadata") or {}).get("resourceVersion", ""))
        entry = self._ledger.entries.get(path)
        if entry is None or entry.key != key or _note(entry).applied != manifest.digest:
            return ["not applied yet"]
        if self._same.get(path) == (manifest.digest, version):
            return []
        then = self._api.apply(path, _placed(manifest, path), force=True, dry=True)
        found = objects.differences(body, then)
        if not found:
            self._same[path] = (manifest.digest, version)
        return found

    def _try(self, resource: Resource) -> None:
        """Have the server judge every manifest without keeping it; one whose kind or place comes with another is passed."""
        want = _want(resource)
        kinds = {each.kind for each in want.manifests}
        if kinds & {"CustomResourceDefinition", "Namespace"}:
            return
        for manifest in want.manifests:
            if path := self._path(manifest):
                self._api.apply(path, _placed(manifest, path), force=want.force or self._is_ours(path), dry=True)

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want, paths = _want(resource), set()
        with self._lock:
            for manifest in want.manifests:
                path = self._path(manifest, fresh=True)
                if not path:
                    said = f"the server has no kind {manifest.kind} of {manifest.api_version}"
                    raise PermanentError(said, reason="NoSuchKind", hint="is its CustomResourceDefinition there?")
                paths.add(path)
                entry = self._ledger.entries.get(path)
                if entry is not None and entry.key != resource.key and entry.key in scope.resources:
                    raise PermanentError(f"{manifest.title} is already applied by {entry.key}", reason="NameTaken")
                self._put(resource.key, manifest, path, want)
        self._prune(resource.key, frozenset(paths))

    def _put(self, key: ResourceKey, manifest: Manifest, path: str, want: Wanted) -> None:
        entry = self._ledger.entries.get(path)
        ours = self._is_ours(path)
        note = _note(entry) if entry is not None else Note(manifest.api_version, manifest.kind)
        if not note.applied:  # new, or never answered: by now others may have made it
            body = self._api.get(path)
            note = msgspec.structs.replace(note, found=body is not None and not objects.is_applied_by(body, MANAGER))
        self._keep(key, path, note)
        body = self._api.apply(path, _placed(manifest, path), force=want.force or ours)
        uid = str((body.get("metadata") or {}).get("uid", ""))
        self._keep(key, path, msgspec.structs.replace(note, uid=uid, applied=manifest.digest))

    def _keep(self, key: ResourceKey, path: str, note: Note) -> None:
        entry = Entry(path=path, key=key, note=msgspec.json.encode(note).decode())
        if self._ledger.entries.get(path) != entry:
            self._ledger.put(entry)

    def _prune(self, key: ResourceKey, keep: frozenset[str]) -> None:  # [inv: only-owned-things-are-removed]
        with self._lock:
            for path in reversed(self._paths(key)):
                if path in keep:
                    continue
                note = _note(self._ledger.entries[path])
                if note.found:
                    name = path.rpartition("/")[2]
                    empty = {"apiVersion": note.api_version, "kind": note.kind, "metadata": {"name": name}}
                    if self._api.get(path) is not None:
                        self._api.apply(path, empty, force=True)
                elif uid := note.uid or self._uid_of_ours(path):
                    self._api.delete(path, uid)
                self._ledger.forget(path)
                self._same.pop(path, None)

    def _uid_of_ours(self, path: str) -> str:
        """Return the uid of an object whose making was not answered, "" when it is not there or others made it."""
        body = self._api.get(path)
        if body is None or not objects.is_applied_by(body, MANAGER):
            return ""
        return str((body.get("metadata") or {}).get("uid", ""))

    def _path(self, manifest: Manifest, *, fresh: bool = False) -> str:
        """Return where the object is at the server, "" when the server has no such kind (yet)."""
        group = f"/apis/{manifest.api_version}" if "/" in manifest.api_version else f"/api/{manifest.api_version}"
        places = self._places.get(manifest.api_version, {})
        if manifest.kind not in places or fresh:
            listed = self._api.get(group) or {}
            places = {
                str(each["kind"]): (str(each["name"]), bool(each.get("namespaced")))
                for each in listed.get("resources") or []
                if isinstance(each, dict) and "kind" in each and "/" not in str(each.get("name", "/"))
            }
            self._places[manifest.api_version] = places
        if manifest.kind not in places:
            return ""
        plural, namespaced = places[manifest.kind]
        middle = f"/namespaces/{manifest.namespace or 'default'}" if namespaced else ""
        return f"{group}{middle}/{plural}/{manifest.name}"

    def _is_ours(self, path: str) -> bool:
        entry = self._ledger.entries.get(path)
        return entry is not None and bool(_note(entry).applied)

    def _paths(self, key: ResourceKey) -> list[str]:
        return [path for path, entry in list(self._ledger.entries.items()) if entry.key == key]


def _placed(manifest: Manifest, path: str) -> dict[str, Any]:
    """Return the manifest with the namespace its path says."""
    parts = path.split("/")
    if "namespaces" not in parts[:-2]:
        return manifest.body
    metadata = {**manifest.body["metadata"], "namespace": parts[parts.index("namespaces") + 1]}
    return {**manifest.body, "metadata": metadata}


def _note(entry: Entry) -> Note:
    try:
        return msgspec.json.decode(entry.note, type=Note)
    except msgspec.DecodeError:
        return Note("", "", found=True)  # of another version: left alone


def _want(resource: Resource) -> Wanted:
    try:
        return kubernetes.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
