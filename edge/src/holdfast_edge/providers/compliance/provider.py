"""Assertions about disks and the boot: looked at, never changed. One that fails is degraded, with what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from holdfast_edge.providers.compliance import judgements
from holdfast_edge.providers.compliance.blocks import Blocks, Storage
from holdfast_edge.providers.compliance.firmware import read_boot
from holdfast_edge.providers.compliance.mount_events import run_mount_events
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import disk_encryption, secure_boot
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource


class ComplianceProvider:
    """`root` stands for / of the machine, as far as /proc, /sys and /dev go."""

    kinds: tuple[str, ...] = ("DiskEncryption", "SecureBoot")

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)

    async def apply(self, resource: Resource, scope: Scope) -> None:
        """Only what is wrong with the spec leads here."""
        _want(resource)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """An assertion leaves nothing behind."""

    async def run_watch(self, wake: Wake) -> None:
        await run_mount_events(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want = _want(resource)
        if isinstance(want, secure_boot.Spec):
            boot = read_boot(self._root)
            status = {"secureBoot": boot.secure, "setupMode": boot.setup, "lockdown": boot.lockdown}
            return judgements.observed(resource.key, judgements.boot_failures(want, boot), status)
        found = self._storage(want)
        said = {
            what: each.trouble or ", ".join(cipher or "clear" for cipher in each.ciphers)
            for what, each in found.items()
        }
        return judgements.observed(resource.key, judgements.encryption_failures(want, found), {"storage": said})

    def _storage(self, want: disk_encryption.Spec) -> dict[str, Storage]:
        blocks = Blocks(self._root)
        mounts = blocks.mounts()
        found = {place: blocks.of_mount(place, mounts) for place in want.mounts}
        found |= {path: blocks.of_device(path, mounts) for path in want.devices}
        if want.swap:
            found |= {f"swap {path}": blocks.of_swap(path, mounts) for path in blocks.swaps()}
        return found


def _want(resource: Resource) -> disk_encryption.Spec | secure_boot.Spec:
    try:
        if resource.kind == "SecureBoot":
            return secure_boot.wanted(resource.spec)
        return disk_encryption.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
