"""Contact: when the hub itself last answered on the connection that stands. Held in memory: a start begins with none."""

import anyio


class Contact:
    def __init__(self) -> None:
        self.heard_at: float | None = None  # seconds since boot; None: not on this connection
        self._asked = anyio.Event()

    def heard(self, at: float) -> None:
        self.heard_at = at

    def lost(self) -> None:
        self.heard_at = None

    def ask(self) -> None:
        """Have the hub asked now. Any number before it is asked are one."""
        self._asked.set()

    async def asked(self) -> None:
        """Return when somebody wants to know."""
        await self._asked.wait()
        self._asked = anyio.Event()
