"""Pace: how much of a stream may be under way, and how large a batch is, from what the hub's answers tell. Pure.

Enough to fill the link for one round trip and to double each round trip while that makes it faster (the rate of delivery
times the shortest round trip, twice); no more, so that what is fresh does not queue behind history on a slow link, and
a broker's queue stays short. The hub's credit bounds it from above, in batches.
"""

from typing import Final

FIRST: Final = 96 * 1024  # bytes under way before the first answer
LEAST_BATCH: Final = 8 * 1024
FIRST_BATCH: Final = 32 * 1024
LARGEST_BATCH: Final = 128 * 1024
BATCH_TIME: Final = 0.25  # seconds of the link that a batch should take
GAIN: Final = 2.0  # round trips of data
BATCHES: Final = 3  # at least: one stored, one on its way, one read
FADE: Final = 0.9  # an answer that shows less lowers the rate by so much at most


class Pace:
    """`limit` and `batch` are in bytes."""

    def __init__(self) -> None:
        self.rate = 0.0  # bytes a second that arrive; 0.0: not known yet
        self.round_trip = 0.0  # seconds, the shortest seen; the hub's commit is in it
        self.limit = FIRST
        self.batch = FIRST_BATCH

    def heard(self, took: float, arrived: int) -> None:
        """Learn from an answer: `arrived` bytes came to be stored in the `took` seconds one batch was under way."""
        if took <= 0:
            return
        self.round_trip = min(self.round_trip or took, took)
        self.rate = max(arrived / took, FADE * self.rate)
        self.batch = int(min(max(self.rate * BATCH_TIME, LEAST_BATCH), LARGEST_BATCH))
        self.limit = int(max(BATCHES * self.batch, GAIN * self.rate * self.round_trip))
