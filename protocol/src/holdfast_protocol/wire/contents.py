"""What the groups of a batch hold: each is read, and found unreadable, on its own.

[inv: one-bad-message-never-blocks-a-queue]
"""

from collections.abc import Iterable, Iterator

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import readings, records
from holdfast_protocol.wire.batch import MAX_BATCH_RAW, Group
from holdfast_protocol.wire.compression import decompress
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import MAX_RAW, Series


class Readings(msgspec.Struct, frozen=True):
    series: list[Series]

    @property
    def times(self) -> tuple[int, int]:
        """The earliest and the latest."""
        return min(min(each.times) for each in self.series), max(max(each.times) for each in self.series)


class Records(msgspec.Struct, frozen=True):
    records: list[Record]


class Unreadable(msgspec.Struct, frozen=True):
    reason: str
    message: str


Content = Readings | Records | Unreadable


def contents(groups: Iterable[Group]) -> Iterator[Content]:
    """Yield what each group holds; no more than MAX_BATCH_RAW bytes are decompressed for all of them."""
    left = MAX_BATCH_RAW
    for group in groups:
        try:
            raw = decompress(group.blob, limit=min(MAX_RAW, left))
            left -= len(raw)
            if group.kind == "readings":
                yield Readings(readings.decode(raw, group.count))
            else:
                yield Records(records.decode(raw, group.count))
        except WireError as error:
            yield Unreadable(error.reason, error.message)
