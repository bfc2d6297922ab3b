"""Exit codes: the same table as the hub's command (docs/cli.md)."""

from typing import Final

DONE: Final = 0
NEGATIVE: Final = 1  # not converged, something to do
USAGE: Final = 2  # wrong words, or an invalid file
NOT_FOUND: Final = 3
CONFLICT: Final = 4
DENIED: Final = 5
UNREACHABLE: Final = 6  # the agent is not running
TIMED_OUT: Final = 7
PARTLY: Final = 8
INTERRUPTED: Final = 130

BY_REASON: Final = {
    "NoSuchHold": NOT_FOUND,
    "NotFound": NOT_FOUND,
    "NoLogs": NOT_FOUND,
    "TooManyHolds": CONFLICT,
    "AlreadyRunning": CONFLICT,
    "Forbidden": DENIED,
}


class CliError(Exception):
    """Ends the command. `reason` is for programs, message and hint for people."""

    def __init__(self, message: str, code: int, *, reason: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.hint = hint
