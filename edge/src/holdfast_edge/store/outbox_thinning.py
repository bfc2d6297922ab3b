"""When telemetry has no room left: downsample the older three quarters first, then drop the oldest."""

import sqlite3
from typing import Final

from holdfast_edge.core.thinning import thinned
from holdfast_edge.store import outbox_rows as rows
from holdfast_edge.store import outbox_sent as sent
from holdfast_edge.store.outbox_state import Stream
from holdfast_protocol.wire import readings
from holdfast_protocol.wire.batch import Group, Stamp, link
from holdfast_protocol.wire.contents import Readings, contents
from holdfast_protocol.wire.readings import Encoded

REASON: Final = "Downsampled"
WHOLE: Final = 4  # the newest one in so many bytes of the quota is left whole
WORTH: Final = 0.9  # of its bytes at most must remain, or a group is left as it is


def make_room(connection: sqlite3.Connection, stream: Stream, quota: int) -> None:
    """Downsample and drop until `quota` bytes of p3 hold the rest."""
    while stream.bytes > quota and (
        thin_one(connection, stream, quota) or rows.drop_oldest(connection, stream, "QuotaExceeded")
    ):
        pass


def thin_one(connection: sqlite3.Connection, stream: Stream, quota: int) -> bool:
    """Look at the next group to be downsampled; return False when the rest is to be left whole.

    A group that may have been sent stays as it was sent. [inv: every-loss-is-counted]
    """
    if stream.bytes - stream.coarse_bytes <= quota // WHOLE:
        return False
    row = connection.execute(
        "SELECT first, count, kind, raw, size, before, chain, blob, thin FROM groups"
        " WHERE stream = ? AND first > ? ORDER BY first LIMIT 1",
        (stream.stream, stream.coarse),
    ).fetchone()
    if row is None:
        return False
    first, count, kind, _, size, before, chain, blob, thin = row
    last = first + count - 1
    stream.coarse = last
    stream.coarse_bytes += size + rows.OVERHEAD
    if thin or kind != "readings" or sent.overlaps(stream, first, last):
        return True
    fewer = _fewer(first, count, before, chain, blob)
    if fewer is None:
        connection.execute("UPDATE groups SET thin = 1 WHERE stream = ? AND first = ?", (stream.stream, first))
        return True
    left, end = first + fewer.count - 1, link(before, first, fewer.count, fewer.blob)
    freed = size - len(fewer.blob)
    connection.execute(
        "UPDATE groups SET count = ?, raw = ?, size = ?, chain = ?, blob = ?, thin = 1 WHERE stream = ? AND first = ?",
        (fewer.count, fewer.raw, len(fewer.blob), end, fewer.blob, stream.stream, first),
    )
    connection.execute(
        "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?, ?, ?)",
        (stream.stream, left + 1, last, freed, REASON, end, chain),
    )
    rows.count_loss(connection, stream, REASON, last - left, freed)
    stream.rows -= last - left
    stream.bytes -= freed
    stream.coarse_bytes -= freed
    return True


def _fewer(first: int, count: int, before: bytes, chain: bytes, blob: bytes) -> Encoded | None:
    """Return the group downsampled; None when it is damaged or that frees too little."""
    if link(before, first, count, blob) != chain:
        return None
    (content,) = contents([Group(count, "readings", Stamp("", 0, 0), blob)])
    if not isinstance(content, Readings):
        return None
    encoded = readings.join([thinned(content.series)])
    if len(encoded) != 1 or encoded[0].count >= count or len(encoded[0].blob) > WORTH * len(blob):
        return None
    return encoded[0]
