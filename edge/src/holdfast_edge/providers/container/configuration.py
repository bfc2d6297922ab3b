"""ConfigMaps and Secrets as files in the agent's folder, one for each key, for whatever at the site reads files.

    configmaps/NAMESPACE/NAME/KEY   0644 in 0755
    secrets/NAMESPACE/NAME/KEY      0600 in 0700

The namespace is "_" for none. Pods do not read these: they have copies that live with them. No engine is needed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from holdfast_edge.providers.container import volumes
from holdfast_edge.providers.disk.failures import provider_error
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, ProviderError
from holdfast_protocol.kinds.pods.contents import contents
from holdfast_protocol.kinds.pods.translation import File
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_PLACES: Final = {"ConfigMap": ("configmaps", 0o755, 0o644), "Secret": ("secrets", 0o700, 0o600)}


class ConfigurationProvider:
    kinds: tuple[str, ...] = ("ConfigMap", "Secret")

    def __init__(self, state_dir: Path) -> None:
        """`state_dir` is the agent's own folder."""
        self._state = state_dir

    def check(self, resource: Resource, scope: Scope) -> None:
        if self._folder(resource.key) is None or "/" in resource.name:
            raise PermanentError(
                "metadata: name and namespace are DNS names of lower-case letters, digits, '-' and '.'",
                reason="BadDocument",
            )
        values = contents(resource.body)
        before = scope.previous.get(resource.key)
        if before is not None and before.get("immutable") is True and contents(before) != values:
            raise PermanentError("immutable: its data cannot change", reason="Immutable", hint="give it another name")

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(lambda: {each.key: self._observed(each, scope) for each in resources})

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        await anyio.to_thread.run_sync(self._write, resource)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """[inv: only-owned-things-are-removed] The folder of this key and no other."""
        folder = self._folder(key)
        if folder is not None:
            await anyio.to_thread.run_sync(volumes.remove, folder)

    async def run_watch(self, wake: Wake) -> None:
        """The folder is the agent's own: what alters it is found by the periodic look."""

    async def close(self) -> None: ...

    def _folder(self, key: ResourceKey) -> Path | None:
        """Return where a resource's files are; None for a name that is no folder's."""
        kind, *namespace, name = key.split("/")
        if len(namespace) > 1 or len(name) > 253 or not all(map(is_name, [*name.split("."), *namespace])):
            return None
        return self._state / _PLACES[kind][0] / (namespace[0] if namespace else "_") / name

    def _observed(self, resource: Resource, scope: Scope) -> Observed:
        folder = self._folder(resource.key)
        try:
            self.check(resource, scope)
            assert folder is not None  # check saw to it
            differences = volumes.differences(folder, _files(resource))
        except ProviderError as error:
            exists = folder is not None and folder.is_dir()
            return Observed(resource.key, exists, (error.message,), "degraded", error.reason, error.message)
        except OSError as error:
            typed = provider_error(error, str(folder))
            return Observed(resource.key, True, (typed.message,), "degraded", typed.reason, typed.message)
        return Observed(
            resource.key,
            folder.is_dir(),
            tuple(f"file {name} is not as wanted" for name in differences),
            detail={"folder": str(folder)},
            status={"folder": str(folder), "keys": sorted(contents(resource.body))},
        )

    def _write(self, resource: Resource) -> None:
        folder = self._folder(resource.key)
        assert folder is not None  # check saw to it
        mode = _PLACES[resource.kind][1]
        try:
            for parent in (folder.parent.parent, folder.parent):
                parent.mkdir(mode=mode, parents=True, exist_ok=True)
            volumes.write(folder, _files(resource), mode=mode)
        except OSError as error:
            raise provider_error(error, str(folder)) from error


def _files(resource: Resource) -> tuple[File, ...]:
    mode = _PLACES[resource.kind][2]
    return tuple(File(key, content, mode) for key, content in contents(resource.body).items())
