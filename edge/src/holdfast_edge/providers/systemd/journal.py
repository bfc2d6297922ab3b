"""The journal: what a unit wrote last. Blocking."""

from typing import Final

from holdfast_edge.providers.disk.programs import Programs
from holdfast_protocol.errors import TransientError

WITHIN: Final = 10.0  # seconds


def tail(unit: str, lines: int, *, is_user: bool, programs: Programs) -> str:
    """Return the last lines of a unit. Raises UnsupportedError NoProgram, TransientError (Deadline, NoJournal)."""
    which = f"--user-unit={unit}" if is_user else f"--unit={unit}"
    words = [which, f"--lines={lines}", "--output=short-iso", "--no-pager", "--quiet"]
    done = programs.run("journalctl", words, within=WITHIN, package="systemd")
    if done.status:
        raise TransientError(done.said, reason="NoJournal")
    return done.out
