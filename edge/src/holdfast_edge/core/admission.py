"""Which readings a source takes: no more of one device than agreed, and none of a time that cannot be."""

from collections.abc import Sequence
from typing import Final

from holdfast_protocol.kinds.device_source import Bounds
from holdfast_protocol.mapping.values import Rejection
from holdfast_protocol.wire.readings import Reading

MAX_DEVICES: Final = 10_000  # remembered; whom we forget has a full bucket again


class Admission:
    """One token bucket a device. Pure: it is told the time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when there were so many; oldest use first
        self.is_open = not (bounds.rate or bounds.ahead or bounds.age)

    def refusal(self, readings: Sequence[Reading], received: int, now: float, *, believed: bool) -> Rejection | None:
        """Return why a message's readings are not taken, None when they are.

        `received` in milliseconds since 1970, `now` in seconds since boot. `believed`: the node's clock is right; where it
        is not, no time of a device is judged by it.
        """
        bounds = self._bounds
        if believed and (bounds.ahead or bounds.age):
            for reading in readings:
                if bounds.ahead and reading.time > received + bounds.ahead:
                    return Rejection("FutureTime", f"{reading.metric}: {reading.time} is ahead of the node's clock")
                if bounds.age and reading.time < received - bounds.age:
                    return Rejection("AncientTime", f"{reading.metric}: {reading.time} is older than is taken")
        if bounds.rate:
            wanted: dict[str, int] = {}
            for reading in readings:
                wanted[reading.device] = wanted.get(reading.device, 0) + 1
            left = {device: self._left(device, now) - count for device, count in wanted.items()}
            for device, tokens in left.items():
                if tokens < 0:
                    return Rejection("Flood", f"{device} sends more than {bounds.rate:g} readings/s")
            for device, tokens in left.items():
                self._keep(device, tokens, now)
        return None

    def _left(self, device: str, now: float) -> float:
        held = self._buckets.get(device)
        if held is None:
            return self._bounds.burst
        tokens, at = held
        return min(self._bounds.burst, tokens + max(now - at, 0.0) * self._bounds.rate)

    def _keep(self, device: str, tokens: float, now: float) -> None:
        self._buckets.pop(device, None)
        self._buckets[device] = (tokens, now)
        if len(self._buckets) > MAX_DEVICES:
            del self._buckets[next(iter(self._buckets))]
