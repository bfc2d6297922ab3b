"""Files that certificates and passwords are read from: who uses them begins anew once they were renewed."""

import hashlib
from collections.abc import Mapping
from typing import Final

import anyio.to_thread

from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.inputs import Material
from holdfast_protocol.relay.tls import file_bytes
from holdfast_protocol.runtime.clock import Clock

LOOK: Final = 30.0  # seconds between two looks


def file_marks(materials: Mapping[str, Material]) -> dict[str, str]:
    """Return a digest of each material that is a file, by place, "" for one that cannot be read. Blocks."""
    return {place: _mark(material.path) for place, material in materials.items() if material.path}


async def run_renewal(materials: Mapping[str, Material], marks: Mapping[str, str], clock: Clock) -> None:
    """Wait while the files are as they were when `marks` were taken. Raises TransientError `Renewed`.

    One that cannot be read is being renewed.
    """
    while True:
        await clock.sleep(LOOK)
        now = await anyio.to_thread.run_sync(file_marks, materials)
        for place, mark in now.items():
            if mark and mark != marks.get(place):
                raise TransientError(f"spec.{place} was renewed", reason="Renewed")


def _mark(path: str) -> str:
    try:
        return hashlib.sha256(file_bytes(path)).hexdigest()
    except OSError:
        return ""
