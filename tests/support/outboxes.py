"""What an outbox holds, as a test asks for it."""

from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.wire.batch import Group, Tombstone
from holdfast_protocol.wire.contents import Readings, contents


async def segments(outbox: Outbox, stream: str = "p3") -> list[Group | Tombstone]:
    found: list[Group | Tombstone] = []
    state = outbox.states()[stream]
    at = state.acked + 1
    while page := await outbox.read(stream, at, state.high):
        found += page.segments
        at = page.last + 1
    return found


async def values(outbox: Outbox) -> list[object]:
    found: list[object] = []
    for content in contents(each for each in await segments(outbox) if isinstance(each, Group)):
        assert isinstance(content, Readings)
        found += [value for series in content.series for value in series.values]
    return found
