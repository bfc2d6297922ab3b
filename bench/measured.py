"""What one drain of a backlog took."""

from typing import NamedTuple


class Drained(NamedTuple):
    """Moments are in seconds of one clock; `bytes_up` is what went over the line, greetings and all."""

    rows: int
    joined: float  # the link came back
    flowing: float  # the backlog began to flow
    ended: float  # the far end had everything
    bytes_up: int

    @property
    def per_s(self) -> float:
        return self.rows / (self.ended - self.joined)

    @property
    def active_per_s(self) -> float:
        return self.rows / (self.ended - self.flowing)

    @property
    def reconnect_s(self) -> float:
        return self.flowing - self.joined

    @property
    def bytes_per_reading(self) -> float:
        return self.bytes_up / self.rows
