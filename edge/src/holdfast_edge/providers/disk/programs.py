"""Programs of the machine, run to their end with argument lists. Blocking: call from a thread. [inv: no-shell-strings]"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from holdfast_protocol.errors import TransientError, UnsupportedError

PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
MAX_SAID: Final = 300  # characters of what a program said that go into a message


class Ended(msgspec.Struct, frozen=True):
    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The gist of it for a message: the last lines of what was said, errors first."""
        text = " ".join((self.err.strip() or self.out.strip()).split())
        return text[-MAX_SAID:] or f"ended with status {self.status}"


class Programs:
    """`path`: where programs are looked for, at every call: they may be installed later."""

    def __init__(self, path: str = PATH) -> None:
        self._path = path

    def find(self, name: str) -> str | None:
        return shutil.which(name, path=self._path)

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        within: float,
        stdin: str = "",
        package: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Return how it ended. `within`: seconds. `package`: what to install where it is missing.

        Raises UnsupportedError: NoProgram; TransientError: Deadline (it was killed).
        """
        program = self.find(name)
        if program is None:
            hint = f"install {package or name}"
            raise UnsupportedError(f"there is no {name} program here", reason="NoProgram", hint=hint)
        try:
            done = subprocess.run(
                [program, *arguments],
                input=stdin.encode(),
                capture_output=True,
                timeout=within,
                check=False,
                env={"PATH": self._path, "LC_ALL": "C", **(environment or {})},
            )
        except subprocess.TimeoutExpired:
            raise TransientError(f"{name}: no end within {within:g} s", reason="Deadline") from None
        except OSError as error:
            raise UnsupportedError(f"{name}: {error.strerror}", reason="NoProgram") from None
        return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
