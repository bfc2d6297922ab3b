"""Credit: how many batches each stream may have unacknowledged, so that all of them together fit what the hub holds. Pure."""

from typing import Final

PLACES: Final = 512  # batches of all streams; a site's pace on its link is its own matter
MOST: Final = 32  # for one stream
RECENT: Final = 10.0  # seconds after which a stream that said nothing takes no part


class Credit:
    """A thousand sites that come back at once get less each than one that comes back alone. Never none: a node that
    may send nothing would not hear that it may again."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str, str], float] = {}

    def hear(self, site: str, node: str, stream: str, now: float) -> None:
        key = (site, node, stream)
        self._heard.pop(key, None)
        self._heard[key] = now  # the one heard of longest ago first

    def each(self, now: float) -> int:
        """Return what each stream is granted at `now`, seconds of the clock `hear` was told."""
        while self._heard and now - self._heard[next(iter(self._heard))] > RECENT:
            del self._heard[next(iter(self._heard))]
        return min(max(PLACES // max(len(self._heard), 1), 1), MOST)
