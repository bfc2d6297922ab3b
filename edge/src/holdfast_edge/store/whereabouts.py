"""At which source of device data each device of this site was seen: that is the way to it.

One that carries commands is not given up for one that does not; of two that do, the one that saw the device last counts.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from holdfast_protocol.runtime.sqlite import Database

MAX_DEVICES: Final = 50_000  # whom there is no room for is forgotten, the first first
BUILT_IN: Final = "devices"  # the site's own broker


class Place(NamedTuple):
    source: str
    able: bool  # it carries commands


class Whereabouts:
    """INVARIANT: what is in memory is in the database, or is not known again after a restart: then it is seen again."""

    def __init__(self, database: Database, tell: Callable[[], None]) -> None:
        """Blocks. `tell` is called whenever a device has another way than before."""
        self._database = database
        self._tell = tell
        with database.reading() as connection:
            rows = connection.execute("SELECT device, source, able FROM whereabouts").fetchall()
        self._places = {device: Place(source, bool(able)) for device, source, able in rows}

    def place_of(self, device: str) -> Place | None:
        return self._places.get(device)

    async def note(self, devices: Collection[str], source: str, *, able: bool) -> None:
        """Say that devices were seen at a source; durable on return. Raises TransientError."""
        place = Place(source, able)
        new = [device for device in devices if self._is_news(device, place)]
        if not new:
            return
        over = max(len(self._places) + len(new) - MAX_DEVICES, 0)
        gone = [device for device, _ in zip(self._places, range(over), strict=False)]
        await self._database.call(self._write, new, gone, place)
        for device in gone:
            self._places.pop(device, None)
        self._places |= dict.fromkeys(new, place)
        self._tell()

    async def keep(self, sources: Iterable[str]) -> None:
        """Forget what was seen at other sources than these. Raises TransientError."""
        kept = set(sources)
        gone = [device for device, place in self._places.items() if place.source not in kept]
        if gone:
            await self._database.call(self._write, [], gone, Place("", False))
            for device in gone:
                self._places.pop(device, None)

    def _is_news(self, device: str, place: Place) -> bool:
        held = self._places.get(device)
        if held is None:
            return True
        return held != place and (place.able or not held.able or held.source == place.source)

    def _write(self, new: list[str], gone: list[str], place: Place) -> None:
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM whereabouts WHERE device = ?", [(device,) for device in gone])
            connection.executemany(
                "INSERT INTO whereabouts (device, source, able) VALUES (?1, ?2, ?3)"
                " ON CONFLICT DO UPDATE SET source = ?2, able = ?3",
                [(device, place.source, place.able) for device in new],
            )
