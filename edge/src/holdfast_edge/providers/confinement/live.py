"""Mandatory access control as the kernel has it: AppArmor's profiles, SELinux's mode. Blocking, but memory only."""

import re
from pathlib import Path
from typing import Final

import msgspec

from holdfast_protocol.errors import PermanentError

MAX_TEXT: Final = 1024 * 1024  # bytes
_LINE: Final = re.compile(r"(.+) \((\w+)\)")


class AppArmor(msgspec.Struct, frozen=True):
    enabled: bool
    profiles: dict[str, str] | None = None  # modes by name; None: not readable here


class Live:
    """`root` stands for / of the machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def apparmor(self) -> AppArmor:
        enabled = _text(self._root / "sys/module/apparmor/parameters/enabled")
        if (enabled or "N").strip() != "Y":
            return AppArmor(enabled=False)
        listed = _text(self._root / "sys/kernel/security/apparmor/profiles")
        if listed is None:
            return AppArmor(enabled=True)
        found = (_LINE.fullmatch(line) for line in listed.splitlines())
        return AppArmor(enabled=True, profiles={each[1]: each[2] for each in found if each})

    def selinux(self) -> str:
        """Return enforcing, permissive, or "" where SELinux is off."""
        mode = _text(self._root / "sys/fs/selinux/enforce")
        return {"1": "enforcing", "0": "permissive"}.get((mode or "").strip(), "")

    def set_selinux(self, mode: str) -> None:
        """Set enforcing or permissive until the next boot. PermanentError: NotPermitted."""
        path = self._root / "sys/fs/selinux/enforce"
        try:
            path.write_text("1" if mode == "enforcing" else "0")
        except OSError as error:
            hint = "the policy loaded may forbid it"
            raise PermanentError(f"{path}: {error.strerror}", reason="NotPermitted", hint=hint) from error


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT).decode(errors="replace")
    except OSError:
        return None
