"""A folder of plain files in the making: nothing collides, nothing leaves it, and what is secret is for its owner only."""

import base64
from typing import Final

import msgspec

from holdfast_protocol.blueprint import names
from holdfast_protocol.errors import Problem, WireError

PRIVATE: Final = 0o600
MAX_PATH: Final = 1024  # characters


class Folder(msgspec.Struct, frozen=True):
    """Text by relative path. `encoded` are base64 of what is no text; `modes` are those other than 0644."""

    files: dict[str, str]
    encoded: tuple[str, ...] = ()
    modes: dict[str, int] = {}
    warnings: tuple[Problem, ...] = ()

    @property
    def private(self) -> tuple[str, ...]:
        """Return what holds secrets."""
        return tuple(path for path, mode in self.modes.items() if not mode & 0o077)


class Filing:
    """Collects the files of a folder of this name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: dict[str, str] = {}
        self._encoded: list[str] = []
        self._modes: dict[str, int] = {}
        self._taken: set[str] = set()
        self._above: set[str] = set()

    def put(self, path: str, content: str | bytes, mode: int = 0o644) -> str:
        """Keep a file and return its path in the folder. Raises WireError: BadPath, Collision."""
        if not is_plain_path(f"/{path}"):
            raise WireError(f"{path[:200]!r} is no plain path", reason="BadPath")
        low = path.lower()  # on some file systems they are one
        parents = {low[:at] for at, letter in enumerate(low) if letter == "/"}
        if low in self._taken or low in self._above or parents & self._taken:
            raise WireError(f"its file {path[:200]} collides with another's", reason="Collision")
        self._taken.add(low)
        self._above |= parents
        full = f"{self._name}/{path}"
        if isinstance(content, str):
            self._files[full] = content
        else:
            self._files[full], encoded = _text(content)
            self._encoded += [full] if encoded else []
        if mode != 0o644:
            self._modes[full] = mode
        return path

    def line(self, path: str, content: str, mode: int = 0o644) -> str:
        """Keep a text that ends with a newline. Raises as `put`."""
        return self.put(path, content if content.endswith("\n") else f"{content}\n", mode)

    def folder(self, warnings: tuple[Problem, ...] = ()) -> Folder:
        """Return what was kept."""
        files = dict(sorted(self._files.items()))
        return Folder(files, tuple(sorted(self._encoded)), dict(sorted(self._modes.items())), warnings)


def _text(content: bytes) -> tuple[str, bool]:
    """Return bytes as text, or as base64 and True where they are none."""
    try:
        return content.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(content).decode(), True


def is_plain_path(path: str) -> bool:
    """Return whether an absolute path means what it says, on one line."""
    return (
        path.startswith("/")
        and len(path) <= MAX_PATH
        and not names.has_control(path)
        and "\n" not in path
        and "\t" not in path
        and all(part not in ("", ".", "..") for part in path.split("/")[1:])
    )
