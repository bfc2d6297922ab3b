"""What of a stream goes next, whatever the hub's answers grant."""

from holdfast_edge.link.flights import Flights
from holdfast_edge.store.outbox_state import View


def test_a_probe_is_sent_although_neither_credit_nor_room_is_left() -> None:
    flights = Flights(1000, in_order=False)
    for number in range(7):
        flights.sent(100 * number + 1, 100 * number + 100, historical=True, size=1 << 20)
    granted_less = View(0, 0, credit=1)
    assert flights.want(granted_less, 1000) is None
    flights.probe()
    again = flights.want(granted_less, 1000)
    assert again is not None
    assert (again.first, again.upto) == (1, 100)
    flights.sent(1, 100, historical=True, size=1 << 20)
    assert flights.want(granted_less, 1000) is None  # one, not all


def test_a_probe_with_nothing_under_way_adds_nothing() -> None:
    flights = Flights(0, in_order=True)
    flights.probe()
    assert flights.want(View(0, 0), 0) is None
