"""Newest: the last reading of every series, for whoever stands at the site. In memory, bounded, and no truth of anything."""

from collections.abc import Iterable
from typing import Final

from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.runtime.sqlite import Database
from holdfast_protocol.wire import readings
from holdfast_protocol.wire.batch import MAX_BATCH_RAW
from holdfast_protocol.wire.compression import decompress
from holdfast_protocol.wire.readings import Reading

KEPT: Final = 10_000  # series
GROUPS: Final = 32  # the last ones of the outbox that are read at start
ROWS: Final = 4096  # as many are enough


class Newest:
    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._readings: dict[tuple[str, str], Reading] = {}  # the one heard of longest ago first

    def take(self, readings: Iterable[Reading]) -> None:
        """Note readings in the order they came in; beyond the bound the series heard of longest ago is forgotten."""
        held = self._readings
        for reading in readings:
            key = (reading.device, reading.metric)
            held.pop(key, None)
            held[key] = reading
        while len(held) > self._kept:
            del held[next(iter(held))]

    def readings(self, device: str = "", metric: str = "", limit: int = KEPT) -> list[Reading]:
        """Return the newest reading of each series, by device and metric; "" for any."""
        found = [
            each for each in self._readings.values() if device in ("", each.device) and metric in ("", each.metric)
        ]
        return sorted(found, key=lambda each: (each.device, each.metric))[:limit]


def last_readings(database: Database) -> list[Reading]:
    """Return what the outbox took last and the hub does not have yet, oldest first. Blocks."""
    groups: list[list[Reading]] = []
    try:
        with database.reading() as connection:
            rows = connection.execute(
                "SELECT blob, count FROM groups WHERE stream = 'p3' AND kind = 'readings' ORDER BY first DESC LIMIT ?",
                (GROUPS,),
            ).fetchall()
        for blob, count in rows:
            groups.append(list(readings.readings(readings.decode(decompress(blob, limit=MAX_BATCH_RAW), count))))
            if sum(map(len, groups)) >= ROWS:
                break
    except (WireError, PermanentError):  # damage is found, and counted, by who reads it to send it
        pass
    return [reading for group in reversed(groups) for reading in group]
