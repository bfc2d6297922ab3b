"""The machine's time zone: the link /etc/localtime, and Debian's /etc/timezone where there is one. Blocking."""

import os
from pathlib import Path

from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.owned import Owned
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.port import Wake
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds import clock
from holdfast_protocol.wire.names import ResourceKey


class Zone:
    """`etc`: where both stand; `state`: where the ledger lives. One resource at a time has them."""

    def __init__(self, etc: Path, state: Path, zones: Path = Path(clock.ZONES)) -> None:
        self._link, self._text = str(etc / "localtime"), str(etc / "timezone")
        self._zones = zones
        roots = Roots([etc], [state])
        self._owned = Owned(Ledger(state), roots)
        self._watch = PathWatch(lambda path: roots.folders(roots.place(path)))

    def now(self) -> str:
        """Return the zone the machine is in, "" when its link says none."""
        try:
            target = os.path.normpath(os.path.join(os.path.dirname(self._link), os.readlink(self._link)))
        except OSError:
            return ""
        below = f"{self._zones}/"
        return target.removeprefix(below) if target.startswith(below) else ""

    def check(self, zone: str) -> None:
        """Raise PermanentError UnknownZone for one this machine has no rules of; "" is none to be had."""
        if not zone:
            return
        try:
            with (self._zones / zone).open("rb") as file:
                known = file.read(4) == b"TZif"
        except OSError:
            known = False
        if not known:
            raise PermanentError(
                f"spec.timezone: this machine knows no zone {zone}", reason="UnknownZone", hint="install tzdata"
            )

    def is_of(self, key: ResourceKey) -> bool:
        return bool(self._owned.paths(key))

    def differences(self, key: ResourceKey, zone: str) -> list[str]:
        """Return what is not as wanted; of "", what of `key` is still there."""
        if not zone:
            return ["timezone: not given back yet"] if self.is_of(key) else []
        found = [] if self.now() == zone else [f"timezone: is {self.now() or 'unknown'}"]
        entry = self._owned.entry(self._link)
        if not found and (entry is None or entry.key != key):
            found.append("timezone: not ours yet")
        named = self._owned.entry(self._text) is not None or os.path.lexists(self._text)
        if named and self._read() != f"{zone}\n":
            found.append("timezone: /etc/timezone differs")
        return found

    def put(self, key: ResourceKey, zone: str) -> None:
        """Bring the machine into a zone; "" gives it back."""
        if not zone:
            self.take_away(key)
            return
        self.check(zone)
        entry = self._owned.entry(self._link)
        if self.now() != zone or entry is None or entry.key != key:
            self._owned.put_link(key, self._link, str(self._zones / zone))
        if self._owned.entry(self._text) is not None or os.path.lexists(self._text):
            self._owned.put(key, self._text, f"{zone}\n".encode(), mode=0o644)

    def take_away(self, key: ResourceKey) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._owned.paths(key):
            self._owned.take_away(path)

    def follow(self) -> None:
        """Watch both from now on. For the event loop."""
        self._watch.follow([self._link, self._text])

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    def _read(self) -> str:
        try:
            return Path(self._text).read_text(errors="replace")
        except OSError:
            return ""
