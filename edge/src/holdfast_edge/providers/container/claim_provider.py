"""PersistentVolumeClaims as folders below the agent's own: data stays when a claim goes, unless the claim says otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from holdfast_edge.providers.container import claims
from holdfast_edge.providers.container.engine import Engine
from holdfast_edge.providers.disk.failures import provider_error, unseen
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import ProviderError, TransientError
from holdfast_protocol.kinds.pods.claim import Claim, claim
from holdfast_protocol.kinds.pods.specification import SITE
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource


class ClaimProvider:
    kinds: tuple[str, ...] = ("PersistentVolumeClaim",)

    def __init__(self, engine_url: str, site: SiteName, state_dir: Path) -> None:
        """`state_dir`: the agent's own folder, the same path for the engine."""
        self._engine = Engine(engine_url)
        self._site = site
        self._claims = state_dir / "claims"

    def check(self, resource: Resource, scope: Scope) -> None:
        claim(resource.key, resource.body)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for a folder."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(lambda: {each.key: self._observed(each) for each in resources})

    async def apply(self, resource: Resource, scope: Scope) -> None:
        asked = claim(resource.key, resource.body)
        folder = self._folder(asked)
        await anyio.to_thread.run_sync(_typed_make, folder, _deed(asked))

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """Release the data, or delete it where the claim asks for that and nothing sees it any more."""
        asked = claim(key, body)
        folder = self._folder(asked)
        if not asked.deleted:
            await anyio.to_thread.run_sync(claims.release, folder)
            return
        sight = await self._engine.look({SITE: self._site})
        users = sorted(each.name for each in sight.containers if str(folder / "data") in each.mounts)
        if users:
            raise TransientError(f"its data is still used by {', '.join(users)[:300]}", reason="InUse", after=2.0)
        await anyio.to_thread.run_sync(_typed_delete, folder)

    async def run_watch(self, wake: Wake) -> None:
        """The folder is the agent's own: what alters it is found by the periodic look."""

    async def close(self) -> None:
        await self._engine.close()

    def _folder(self, asked: Claim) -> Path:
        return self._claims / (asked.namespace or "_") / asked.name

    def _observed(self, resource: Resource) -> Observed:
        try:
            asked = claim(resource.key, resource.body)
        except ProviderError as error:
            return unseen(resource.key, error)
        folder = self._folder(asked)
        deed, there = claims.read(folder), (folder / "data").is_dir()
        differences = []
        if not there:
            differences.append("its folder is absent" if deed is None else "its folder is gone, and the data in it")
        elif deed != _deed(asked):
            differences.append("the folder is not in its name")
        status: dict[str, Any] = {"phase": "Bound" if there else "Pending", "accessModes": list(asked.modes)}
        if there:
            status["capacity"] = {"storage": str(asked.size)}
        return Observed(resource.key, there, tuple(differences), detail={"folder": str(folder / "data")}, status=status)


def _deed(asked: Claim) -> claims.Deed:
    return claims.Deed(owner=asked.key, size=asked.size)


def _typed_make(folder: Path, deed: claims.Deed) -> None:
    try:
        claims.make(folder, deed)
    except OSError as error:
        raise provider_error(error, str(folder)) from error


def _typed_delete(folder: Path) -> None:
    try:
        claims.delete(folder)
    except OSError as error:
        raise provider_error(error, str(folder)) from error
