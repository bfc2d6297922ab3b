"""Looking at an outbox without opening it: for a command line beside an agent that is not running."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from holdfast_edge.store.outbox_opening import NAME
from holdfast_edge.store.outbox_rows import OVERHEAD
from holdfast_protocol.runtime.sqlite import read_only


def look(folder: Path) -> dict[str, dict[str, Any]]:
    """Return depth, age and losses by class, with what only a running agent knows as None. Raises sqlite3.Error."""
    with closing(read_only(folder / NAME)) as connection:
        found: dict[str, dict[str, Any]] = {}
        for stream, lost in connection.execute("SELECT stream, lost FROM streams ORDER BY stream").fetchall():
            count, size, oldest = connection.execute(
                "SELECT coalesce(sum(count), 0), coalesce(sum(size), 0) + count(*) * ?, min(wall) FROM groups"
                " WHERE stream = ?",
                (OVERHEAD, stream),
            ).fetchone()
            losses = connection.execute("SELECT reason, rows, bytes FROM losses WHERE stream = ?", (stream,)).fetchall()
            found[stream] = {
                "rows": count,
                "bytes": size,
                "quota": 0,
                "age_s": None if oldest is None else max(time.time() - oldest / 1000, 0.0),
                "lost": lost,
                "losses": {reason: {"rows": rows, "bytes": dropped} for reason, rows, dropped in losses},
                "bytes_per_s": None,
                "full_in_s": None,
            }
    return found
