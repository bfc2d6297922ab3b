"""Board: the newest status, for whoever in this process wants to know. Readers may miss one, never the newest."""

import anyio

from holdfast_protocol.wire.messages import Status


class Board:
    def __init__(self) -> None:
        self.status: Status | None = None
        self.notes: dict[str, str] = {}  # problems outside the reconcile loop, by who noted them
        self._changed = anyio.Event()

    def put(self, status: Status) -> None:
        """Show a status; what is shown already wakes nobody."""
        if status != self.status:
            self.status = status
            self._wake()

    def note(self, who: str, problem: str) -> bool:
        """Set a problem ("": over); return whether that is news."""
        if self.notes.get(who, "") == problem:
            return False
        self.notes = {name: text for name, text in {**self.notes, who: problem}.items() if text}
        return True

    async def newer(self, than: Status | None) -> Status:
        """Return the status once it is another than `than`."""
        while self.status is None or self.status == than:
            await self._changed.wait()
        return self.status

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
