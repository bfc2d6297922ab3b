"""How the machine was booted, as the firmware and the kernel tell it: EFI variables and lockdown. Blocking, but memory only."""

import re
from pathlib import Path
from typing import Final

import msgspec

_GLOBAL: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SHIM: Final = "605dab50-e046-4300-abb6-3dd810dd8b23"
_HEAD: Final = 4  # bytes of attributes before a variable's value
_LOCKED: Final = re.compile(r"\[(\w+)\]")


class Boot(msgspec.Struct, frozen=True):
    """None: the machine does not tell."""

    efi: bool
    secure: bool | None
    setup: bool | None  # keys can be put in by anyone: nothing is verified
    unchecked: bool  # the shim was told to verify nothing
    lockdown: str | None  # none, integrity, confidentiality


def read_boot(root: Path = Path("/")) -> Boot:
    """Return what is known; `root` stands for / of the machine."""
    variables = root / "sys/firmware/efi/efivars"
    return Boot(
        efi=(root / "sys/firmware/efi").is_dir(),
        secure=_flag(variables / f"SecureBoot-{_GLOBAL}"),
        setup=_flag(variables / f"SetupMode-{_GLOBAL}"),
        unchecked=bool(_flag(variables / f"MokSBStateRT-{_SHIM}")),
        lockdown=_lockdown(root / "sys/kernel/security/lockdown"),
    )


def _flag(path: Path) -> bool | None:
    try:
        with path.open("rb") as file:
            value = file.read(_HEAD + 1)
    except OSError:
        return None
    return value[_HEAD] == 1 if len(value) == _HEAD + 1 else None


def _lockdown(path: Path) -> str | None:
    try:
        found = _LOCKED.search(path.read_text(errors="replace")[:200])
    except OSError:
        return None
    return found[1] if found else None
