"""Flights: which part of a stream goes next, and what is under way. Pure; one per stream and connection.

p0 to p2 go in sequence, because what they say has an order. p3 goes freshest first: what was committed on this
connection overtakes what waited for it, and the hub keeps it above its contiguous mark until the rest has come. The
last place under way and one turn in `FRESH_RUN` + 1 keep either from starving the other.
"""

from typing import Final, NamedTuple

from holdfast_edge.link.pace import Pace
from holdfast_edge.store.outbox_state import View

FRESH_RUN: Final = 3  # fresh batches in a row while history waits


class Want(NamedTuple):
    """Send from `first` on, nothing that begins after `upto`."""

    first: int
    upto: int
    historical: bool


class Flight(NamedTuple):
    """A batch published and not known to be stored; `order` counts this stream's batches on this connection."""

    first: int
    last: int
    order: int
    size: int = 0  # bytes
    at: float = 0.0  # when it was handed to the connection, seconds
    before: int = 0  # bytes of this stream known to have arrived at that moment


class Flights:
    def __init__(self, mark: int, *, in_order: bool) -> None:
        """`mark` is the last sequence of history: what was given out before this connection."""
        self.mark = mark
        self.under_way: list[Flight] = []
        self.pace = Pace()
        self._arrived = 0  # bytes
        self._in_order = in_order
        self._probing = False
        self._sent = 0
        self._fresh = 0  # fresh batches since the last historical one

    def take(self, view: View, now: float = 0.0) -> None:
        """Strike what the hub has. What was sent before something that arrived, and did not arrive, is lost."""
        held = [flight for flight in self.under_way if _is_held(view, flight)]
        if not held:
            return
        self._probing = False
        self._arrived += sum(flight.size for flight in held)
        newest = max(held, key=lambda flight: flight.order)
        self.pace.heard(now - newest.at, self._arrived - newest.before)
        self.under_way = [flight for flight in self.under_way if flight.order > newest.order]

    def sent(self, first: int, last: int, *, historical: bool, size: int = 0, now: float = 0.0) -> Flight:
        """Note a batch as under way."""
        self._sent += 1
        self._probing = False
        self._fresh = 0 if historical else self._fresh + 1
        flight = Flight(first, last, self._sent, size, now, self._arrived)
        self.under_way.append(flight)
        return flight

    def give_up(self, flight: Flight) -> None:
        """A batch is known to have reached nobody: it is wanted again."""
        self.under_way = [each for each in self.under_way if each != flight]

    def probe(self) -> None:
        """Nobody answers: let the oldest batch go once more, whatever room there is. Not all: a broker may keep them."""
        if self.under_way:
            self.give_up(min(self.under_way, key=lambda flight: flight.order))
            self._probing = True

    def want(self, view: View, high: int, *, history: bool = True) -> Want | None:
        """Return what to send next of a stream that ends at `high`; None when nothing is left or enough is under way.

        `history` false: only what is fresh, where order allows the difference.
        """
        if len(self.under_way) >= view.credit and not self._probing:
            return None
        old = self._free(view, view.upto + 1, min(self.mark, high)) if history or self._in_order else None
        if self._in_order and old:
            return Want(*old, historical=True) if self._has_room else None
        fresh = self._free(view, self.mark + 1, high)
        if fresh and (old is None or self._fresh < FRESH_RUN):
            return Want(*fresh, historical=False)
        kept_free = self._probing or fresh or len(self.under_way) < max(view.credit - 1, 1)
        if old and self._has_room and kept_free:
            return Want(*old, historical=True)
        return Want(*fresh, historical=False) if fresh else None

    @property
    def _has_room(self) -> bool:
        return self._probing or sum(flight.size for flight in self.under_way) < self.pace.limit

    def _free(self, view: View, start: int, end: int) -> tuple[int, int] | None:
        """Return the first range within start..end that is neither at the hub nor under way."""
        at = max(start, view.upto + 1)
        while at <= end:
            flying = next((flight for flight in self.under_way if flight.first <= at <= flight.last), None)
            if flying:
                at = flying.last + 1
                continue
            limit = end
            if at <= view.high:
                gap = next(((first, last) for first, last in view.missing if last >= at), None)
                if gap is None or gap[0] > at:
                    at = view.high + 1 if gap is None else gap[0]
                    continue
                limit = min(end, gap[1])
            return at, min([limit, *(flight.first - 1 for flight in self.under_way if flight.first > at)])
        return None


def _is_held(view: View, flight: Flight) -> bool:
    if flight.last <= view.upto:
        return True
    missing = any(first <= flight.last and last >= flight.first for first, last in view.missing)
    return flight.last <= view.high and not missing
