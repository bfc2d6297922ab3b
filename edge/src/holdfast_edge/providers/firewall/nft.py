"""The one door to nftables: nft(8), with rules on its standard input. Blocking: call from a thread."""

import shutil
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, UnsupportedError

FAMILY: Final = "inet"
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_WITHIN: Final = 30.0  # seconds
_MOST: Final = 300  # characters of what nft said


class Nft:
    """`path`: where the program is looked for, at every call: it may be installed later."""

    def __init__(self, path: str = PATH) -> None:
        self._path = path
        self._lock = threading.Lock()  # a listing shows what is being checked at the same moment

    def check(self, text: str) -> None:
        """Raise what loading `text` would raise, as far as that can be told without changing anything."""
        self._run(["-c", "-f", "-"], text)

    def load(self, text: str) -> None:
        """Load `text` as one transaction: all of it or nothing."""
        self._run(["-f", "-"], text)

    def listing(self, table: str) -> bytes | None:
        """Return a table as nft's JSON, None when it is not there. One that is only being checked shows for a moment, too."""
        try:
            return self._run(["-j", "list", "table", FAMILY, table], "")
        except PermanentError as error:
            if "No such file or directory" in error.message:
                return None
            raise

    def _run(self, arguments: Sequence[str], text: str) -> bytes:
        program = shutil.which("nft", path=self._path)
        if program is None:
            raise UnsupportedError("there is no nft program here", reason="NoNftables", hint="install nftables")
        try:
            with self._lock:
                done = subprocess.run(
                    [program, *arguments],
                    input=text.encode(),
                    capture_output=True,
                    timeout=_WITHIN,
                    check=False,
                    env={"PATH": PATH, "LC_ALL": "C"},
                )
        except subprocess.TimeoutExpired:
            raise TransientError(f"nft: no end within {_WITHIN:g} s", reason="Deadline") from None
        except OSError as error:
            raise UnsupportedError(f"nft: {error.strerror}", reason="NoNftables") from None
        if done.returncode:
            raise _typed(done.stderr.decode(errors="replace"))
        return done.stdout


def _typed(said: str) -> ProviderError:
    first = (
        "; ".join(line.strip() for line in said.splitlines() if "rror:" in line) or said.strip() or "no reason given"
    )
    text = f"nft: {first[:_MOST]}"
    if "not permitted" in said:
        return UnsupportedError(text, reason="NotPermitted", hint="the agent may not change packet filters here")
    if "Protocol not supported" in said or "Unable to initialize Netlink" in said:
        return UnsupportedError(text, reason="NoNftables", hint="the kernel has no nf_tables")
    if "Interface does not exist" in said:
        return TransientError(text, after=30.0, reason="NoInterface", hint="iifname asks by name and needs none")
    if "resource busy" in said or "No buffer space" in said or "temporarily" in said:
        return TransientError(text, reason="Busy")
    return PermanentError(text, reason="RulesetRefused")
