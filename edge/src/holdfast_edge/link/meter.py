"""The meter of a link: what may still go today, asked before every batch of history and counted, on disk, before it goes."""

from datetime import tzinfo

from holdfast_edge.core import metering
from holdfast_edge.core.metering import Allowance, Metered
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import DAY_MS
from holdfast_protocol.runtime.clock import Clock


class Meter:
    """INVARIANT: no more than the day's budget and one batch of history goes in 24 hours of running, kills included."""

    def __init__(self, metered: Metered, outbox: Outbox, clock: Clock, boot_id: str, zone: tzinfo) -> None:
        """Raises WireError for settings that `metering.problem` would not pass."""
        self._metered = metered
        self._calendar = metering.calendar(metered)
        self._outbox = outbox
        self._clock = clock
        self._boot_id = boot_id
        self._zone = zone

    def allowance(self) -> Allowance:
        """Return whether history may go now."""
        held = self._outbox.odometer.at(self._boot_id, int(self._clock.boottime() * 1000))
        return metering.allowance(
            self._metered,
            self._calendar,
            self._zone,
            now=self._clock.wall(),
            spent=held.spent,
            day_left=(DAY_MS - held.total % DAY_MS) / 1000,
        )

    async def spend(self, size: int) -> None:
        """Count a batch; durable on return. Without a budget there is nothing to count."""
        if self._metered.bytes_per_day:
            await self._outbox.spend(size)
