"""What device ingest has put into an outbox, read back from its database."""

from typing import NamedTuple

from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.wire import readings
from holdfast_protocol.wire.batch import Group
from holdfast_protocol.wire.contents import Readings, Records, contents
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading


class Site(NamedTuple):
    """Settings as `run_devices` takes them."""

    host: str = "127.0.0.1"
    port: int = 1883
    topics: tuple[str, ...] = ("devices/#",)


async def stored_readings(outbox: Outbox) -> list[Reading]:
    """Return every reading of p3, in order."""
    found = [each for part in await _contents(outbox, "p3") if isinstance(part, Readings) for each in part.series]
    return list(readings.readings(found))


async def stored_records(outbox: Outbox, stream: str = "p2") -> list[Record]:
    return [each for part in await _contents(outbox, stream) if isinstance(part, Records) for each in part.records]


async def _contents(outbox: Outbox, stream: str) -> list[object]:
    found: list[object] = []
    next_, high = 1, outbox.states()[stream].high
    while next_ <= high and (page := await outbox.read(stream, next_, high)) is not None:
        found += contents(each for each in page.segments if isinstance(each, Group))
        next_ = page.last + 1
    return found
