"""Room in readings.db that nothing is in any more: given back to the disk, a slice at a time."""

import sqlite3
from typing import Final

SLICE: Final = 256  # pages of one transaction
SPARE: Final = 1_024  # pages not given back, 4 MiB: ingest would only ask for them again
SHARE: Final = 10  # nor is anything while less than one page in so many is free


def surplus(connection: sqlite3.Connection) -> int:
    """Return how many pages are to be given back, 0 for a file that cannot: made before it was to be able to."""
    free, pages, mode = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("freelist_count", "page_count", "auto_vacuum")
    )
    return max(free - SPARE, 0) if mode == 2 and free * SHARE >= pages else 0


def give_back(connection: sqlite3.Connection, most: int) -> None:
    """Shorten the file by up to SLICE pages, `most` at most; their contents move towards its beginning."""
    connection.execute(f"PRAGMA incremental_vacuum({min(most, SLICE)})").fetchall()
