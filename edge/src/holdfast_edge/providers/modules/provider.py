"""Kernel modules: loaded now and at every boot, with their parameters.

Parameters are given to a module when it is loaded: one that is loaded already keeps what it has until then, which is said
and is no difference. The kernel tells of no module that goes: that is seen by the periodic look, of the files at once.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.modules.live import Live, Standing
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import kernel_module
from holdfast_protocol.kinds.kernel_module import Wanted
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_HEAD: Final = "# By Holdfast: changes made here are undone.\n"
_OURS: Final = "loaded by us: "  # begins a note
_FOUND: Final = "found: "
_TRUTHS: Final = {"Y": "1", "N": "0", "y": "1", "n": "0"}


class KernelModuleProvider:
    """`state`: where the ledger lives. The ledger's note of a file says which module it is for and whether we
    loaded it."""

    kinds: tuple[str, ...] = ("KernelModule",)

    def __init__(self, *, state: Path, etc: Path = Path("/etc"), live: Live | None = None) -> None:
        self._etc = etc
        self._texts = OwnedTexts(etc, state)
        self._live = live or Live()

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)
        self._texts.follow(path for each in resources if is_name(each.name) for path in self._paths(each))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: the files, and the module if we loaded it and nothing uses it."""
        await anyio.to_thread.run_sync(self._take_away, key, frozenset[str]())

    async def run_watch(self, wake: Wake) -> None:
        await self._texts.run_watch(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want = _want(resource)
        files = self._files(resource, want)
        standing = self._live.standing(want.module)
        found = [said for path, text in files.items() if (said := self._texts.difference(path, text))]
        if not found and any(self._texts.key(path) != resource.key for path in files):
            found.append("file: not ours yet")
        found += [f"file: {path} is left over" for path in self._texts.paths(resource.key) if path not in files]
        if want.loaded and standing == "absent":
            found.append("loaded: it is not")
        reason, message = self._parameters(want, standing)
        return Observed(
            key=resource.key,
            exists=any(self._texts.key(path) == resource.key for path in files),
            differences=tuple(found),
            reason=reason,
            message=message,
            detail={"module": want.module, "standing": standing},
            status={
                "module": want.module,
                "loaded": standing != "absent",
                "builtIn": standing == "built-in",
                **({"needsBoot": message} if reason and standing == "loaded" else {}),
            },
        )

    def _parameters(self, want: Wanted, standing: Standing) -> tuple[str, str]:
        """Return reason and message for parameters that are not what a module has now, "" for both else."""
        other = [
            f"{name} is {now}"
            for name, value in want.parameters.items()
            if (now := self._live.parameter(want.module, name)) is not None and _truth(now) != _truth(value)
        ]
        if not other or standing == "absent":
            return "", ""
        when = (
            "when it is loaded next" if standing == "loaded" else "from the kernel's command line only: it is built in"
        )
        return "NextLoad", f"{', '.join(other)[:300]}; parameters are given {when}"

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        files = self._files(resource, want)
        load_path, _ = self._paths(resource)
        for path in files:
            self._texts.claim(resource, path, scope.resources)
        self._take_away(
            resource.key, {path for path in files if path != load_path or self._module(path) == want.module}
        )
        absent = self._live.standing(want.module) == "absent"
        for path, text in files.items():
            note = self._texts.note(path) or ""
            if path == load_path and (absent or not note):
                note = f"{_OURS if absent else _FOUND}{want.module}"  # said before it is loaded, and for good
            self._texts.put(resource.key, path, text, note=note)
        if want.loaded and absent:
            self._live.load(want.module)

    def _take_away(self, key: ResourceKey, keep: Collection[str]) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._texts.paths(key):
            if path not in keep:
                self._give_back(path)
                self._texts.take_away(path)

    def _give_back(self, path: str) -> None:
        """Unload the module of a file if we loaded it; another resource that wants it too takes over the charge."""
        module = self._module(path)
        if self._texts.note(path) != f"{_OURS}{module}":
            return
        for other in self._texts.paths():
            if other != path and self._module(other) == module:
                self._texts.annotate(other, f"{_OURS}{module}")
                return
        self._live.unload(module)

    def _module(self, path: str) -> str:
        """Return the module a file of ours has loaded at boot, "" for files of parameters."""
        return (self._texts.note(path) or "").removeprefix(_OURS).removeprefix(_FOUND)

    def _files(self, resource: Resource, want: Wanted) -> dict[str, str]:
        texts = (kernel_module.render_load(want), kernel_module.render_options(want))
        return {path: _HEAD + text for path, text in zip(self._paths(resource), texts, strict=True) if text}

    def _paths(self, resource: Resource) -> tuple[str, str]:
        name = f"holdfast-{resource.name}.conf"
        return str(self._etc / "modules-load.d" / name), str(self._etc / "modprobe.d" / name)


def _want(resource: Resource) -> Wanted:
    if not is_name(resource.name):
        raise PermanentError(f"{resource.name[:100]!r} cannot name a file of settings", reason="BadName")
    try:
        return kernel_module.wanted(resource.spec, resource.name)
    except WireError as error:
        raise failures.refusal(error) from None


def _truth(value: str) -> str:
    return _TRUTHS.get(value, value)
