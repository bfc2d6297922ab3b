"""What one drain of a backlog took."""

from pathlib import Path
from typing import NamedTuple


class Drained(NamedTuple):
    """Moments are in seconds of one clock; `bytes_up` is what went over the line, greetings and all."""

    rows: int
    joined: float  # the link came back
    flowing: float  # the backlog began to flow
    ended: float  # the far end had everything
    bytes_up: int
    site_mib: float = 0.0  # the most memory the site's process had; 0.0: not looked at
    hub_mib: float = 0.0

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


def peak_mib(pid: int) -> float:
    """Return the most resident memory a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"process {pid} does not say")
