"""What a destination is to the hub: something that takes readings, durably, or says why not."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import anyio.to_thread
import msgspec

from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.runtime.refusals import refusal_text

MAX_SECRET: Final = 64 * 1024  # bytes
MAX_WHY: Final = 500  # characters
Labels = Callable[[str], Mapping[str, str]]  # of a site, by its name


class Refusal(msgspec.Struct, frozen=True):
    """How many readings the other side will never take, and what it said; it may say something and take them all."""

    count: int = 0
    why: str = ""

    def __add__(self, other: "Refusal") -> "Refusal":
        return Refusal(self.count + other.count, other.why or self.why)


NOTHING: Final = Refusal()


class Outlet(Protocol):
    async def send(self, entries: Sequence[Entry]) -> Refusal:
        """Hand readings over and return what was refused for good. The other side may have some of them already.

        Raises TransientError when it cannot be told now.
        """
        ...

    async def close(self) -> None: ...


async def in_halves(
    entries: Sequence[Entry], attempt: Callable[[Sequence[Entry]], Awaitable[tuple[bool, Refusal]]]
) -> Refusal:
    """Hand readings over by `attempt`, which says whether they fit as they are, and how many of those did not.

    What does not fit is halved until the readings at fault are found. [inv: one-bad-message-never-blocks-a-queue]
    """
    fits, refusal = await attempt(entries)
    if fits:
        return refusal
    if len(entries) == 1:
        return Refusal(1, refusal.why)
    half = len(entries) // 2
    return await in_halves(entries[:half], attempt) + await in_halves(entries[half:], attempt)


def missing(package: str, extra: str) -> PermanentError:
    """Return the error for a library that is not there."""
    hint = f"pip install 'holdfast-hub[{extra}]', and start the hub again"
    return PermanentError(f"{package} is not installed", reason="NoDriver", hint=hint)


def unreachable(error: BaseException | str, where: str = "") -> TransientError:
    """Return what a library's error, or word, is to a sink: one line of it, and of what was tried."""
    text = " ".join(error.split()) if isinstance(error, str) else refusal_text(error)
    return TransientError(": ".join(part for part in (where, text) if part)[:MAX_WHY], reason="Unreachable")


async def secret(path: str) -> str:
    """Return the text of a credential's file without its line end. Raises TransientError: somebody may put it there."""
    try:
        data = await anyio.to_thread.run_sync(_beginning, path)
        text = data.decode().rstrip("\r\n") if len(data) <= MAX_SECRET else ""
    except (OSError, UnicodeDecodeError) as error:
        raise TransientError(f"{path}: {refusal_text(error)}", reason="NoSecret") from None
    if not text:
        raise TransientError(f"{path} is empty, or too large", reason="NoSecret")
    return text


def _beginning(path: str) -> bytes:
    """Return what a credential may have, and one byte more; a pipe that nobody writes to is empty."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, MAX_SECRET + 1)
    finally:
        os.close(file)
