"""What a destination is to the hub: something that takes readings, durably, or says why not."""

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import anyio

from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import TransientError

MAX_SECRET: Final = 64 * 1024  # bytes


class Outlet(Protocol):
    async def send(self, entries: Sequence[Entry]) -> int:
        """Hand readings over and return how many of them the other side will never take. It may have some already.

        Raises TransientError when it cannot be told now.
        """
        ...

    async def close(self) -> None: ...


def value_of(entry: Entry) -> Any:
    """Return a value as JSON has it: numbers that are none, or infinite, are null."""
    value = entry.row.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def secret(path: str) -> str:
    """Return the text of a credential's file without its line end. Raises TransientError: somebody may put it there."""
    try:
        found = anyio.Path(path)
        data = await found.read_bytes() if (await found.stat()).st_size <= MAX_SECRET else b""
        text = data.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TransientError(f"{path}: {error}", reason="NoSecret") from None
    if not text:
        raise TransientError(f"{path} is empty, or too large", reason="NoSecret")
    return text
