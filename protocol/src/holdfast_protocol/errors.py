"""Errors that answer: whose fault, again or not, and where.

Whose: `MisuseError` ours, `WireError` the peer's, `InputError` the author's, `ProviderError` the machine's.
Again: `TransientError` after a while, `PermanentError` not before something changes.
Where: `phase` and `resource`; `hint` is what a person can do about it.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec


class HoldfastError(Exception):
    """`reason` is a stable CamelCase word for programs; the message is for people."""

    def __init__(self, message: str, *, reason: str = "", phase: str = "", resource: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__.removesuffix("Error")
        self.phase = phase
        self.resource = resource
        self.hint = hint


class MisuseError(HoldfastError):
    """Our own code called something out of order or with impossible arguments."""


class WireError(HoldfastError):
    """The peer sent what may not be accepted: malformed, unsigned, oversized, replayed or meant for another."""


class LinkLost(HoldfastError):
    """The connection to the broker is gone or was refused; what was not acknowledged must be sent again."""


class PublishRefused(LinkLost):
    """The broker took a message's bytes and refuses the message: `code` is its reason code, 128 and more."""

    def __init__(self, topic: str, code: int) -> None:
        super().__init__(f"{topic} refused with code {code}", reason="Refused")
        self.code = code


class NotFoundError(HoldfastError):
    """The thing named does not exist."""


class ConflictError(HoldfastError):
    """The request contradicts what is stored; nothing was changed."""


class ProviderError(HoldfastError):
    """The machine refused or failed."""


class TransientError(ProviderError):
    """Worth another try, not before `after` seconds (0: the usual backoff)."""

    def __init__(
        self,
        message: str,
        *,
        after: float = 0.0,
        reason: str = "",
        phase: str = "",
        resource: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, reason=reason, phase=phase, resource=resource, hint=hint)
        self.after = after


class PermanentError(ProviderError):
    """Not worth another try until the target or the machine changes. `problems`: each thing wrong, where several are."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        phase: str = "",
        resource: str = "",
        hint: str = "",
        problems: Sequence["Problem"] = (),
    ) -> None:
        super().__init__(message, reason=reason, phase=phase, resource=resource, hint=hint)
        self.problems = tuple(problems)


class UnsupportedError(PermanentError):
    """This machine cannot do this at all (no engine, no systemd, unknown kind)."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with what a person wrote, and where. Lines and columns count from 1; 0 means unknown."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""  # of the value in its document: spec.resources[0].template.kind
    resource: str = ""  # the document: Blueprint/quality-inspection
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class InputError(HoldfastError):
    """What a person wrote cannot be accepted; every problem at once, nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), reason="InvalidInput")


def render(error: HoldfastError) -> str:
    """Return the one text for status, log, CLI and dashboard: where, what, and what to do."""
    where = " ".join(part for part in (error.phase, error.resource) if part)
    text = f"{where}: {error.message}" if where else error.message
    return f"{text} (try: {error.hint})" if error.hint else text


E = TypeVar("E", bound=HoldfastError)


def first_of(group: BaseExceptionGroup[E]) -> E:
    """Return the first error of a group of these, however deep it lies."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
