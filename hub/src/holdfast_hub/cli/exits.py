"""Exit codes: one table, the same for every verb (docs/cli.md)."""

from typing import Final, NoReturn

DONE: Final = 0
NEGATIVE: Final = 1  # differs, not ready, a finding
USAGE: Final = 2  # wrong words, or an invalid file
NOT_FOUND: Final = 3
CONFLICT: Final = 4
DENIED: Final = 5
UNREACHABLE: Final = 6
TIMED_OUT: Final = 7
PARTLY: Final = 8
INTERRUPTED: Final = 130

MEANINGS: Final = {
    DONE: "done, or yes",
    NEGATIVE: "a negative answer: differs, not ready, a finding",
    USAGE: "wrong words or an invalid file; nothing was changed",
    NOT_FOUND: "not found",
    CONFLICT: "conflict; nothing was changed",
    DENIED: "not allowed",
    UNREACHABLE: "the hub or the broker cannot be reached",
    TIMED_OUT: "timed out",
    PARTLY: "partly done, or done and not told: the output could not be written",
    INTERRUPTED: "interrupted",
}


class CliError(Exception):
    """Ends the command: message and hint for people, reason for programs, problems with their places."""

    def __init__(
        self,
        message: str,
        code: int,
        *,
        reason: str = "",
        hint: str = "",
        problems: tuple[dict[str, object], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason or "Error"
        self.hint = hint
        self.problems = problems


def unusable(error: OSError) -> CliError:
    """Return what to say of a file or folder that the machine refused, or of an output nothing can be written to."""
    said = error.strerror or str(error)
    if error.filename is None:
        return CliError(f"the output cannot be written: {said}", PARTLY, reason="CannotWrite")
    code = DENIED if isinstance(error, PermissionError) else USAGE
    return CliError(f"{error.filename}: {said}", code, reason="CannotUse")


def usage(message: str, hint: str = "") -> NoReturn:
    raise CliError(message, USAGE, reason="Usage", hint=hint)
