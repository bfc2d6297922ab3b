"""Whom to ask for a birth, and when: at once, then ever more rarely, and never many at a time.

A node that answers and is soon in need again goes on waiting as long as before: only `CALM` makes it new.
"""

from typing import Final, NamedTuple

import msgspec

FIRST: Final = 5.0  # seconds between two requests to one node, doubled each time
LONGEST: Final = 300.0
CALM: Final = 60.0  # seconds after a birth
RATE: Final = 20.0  # requests a second, to all nodes together
BURST: Final = 40.0
PATIENCE: Final = 10  # requests in vain before a node is no longer asked, until it says something


class Node(NamedTuple):
    group: str
    node: str


class _Plan(msgspec.Struct):
    at: float = 0.0  # not before, in seconds since boot
    wait: float = FIRST
    wanted: bool = False
    asked: int = 0  # in vain
    born: float = -CALM


class Rebirths:
    def __init__(self) -> None:
        self._plans: dict[Node, _Plan] = {}
        self._wanted: dict[Node, None] = {}  # an ordered set
        self._budget = BURST
        self._then = 0.0

    def want(self, node: Node, now: float) -> None:
        plan = self._plans.setdefault(node, _Plan())
        if not plan.wanted:
            plan.wanted, plan.asked = True, 0
            plan.wait = FIRST if now - plan.born >= CALM else plan.wait
            self._wanted[node] = None

    def answered(self, node: Node, now: float) -> None:
        plan = self._plans.setdefault(node, _Plan())
        plan.wanted, plan.born = False, now
        self._wanted.pop(node, None)

    def cancel(self, node: Node) -> None:
        """It is not there to be asked."""
        if (plan := self._plans.get(node)) is not None:
            plan.wanted = False
            self._wanted.pop(node, None)

    def forget(self, node: Node) -> None:
        self._plans.pop(node, None)
        self._wanted.pop(node, None)

    def due(self, now: float) -> list[Node]:
        """Return whom to ask now, and count it as done."""
        self._budget = min(BURST, self._budget + RATE * (now - self._then))
        self._then = now
        found = []
        for node in list(self._wanted):
            plan = self._plans[node]
            if self._budget < 1:
                break
            if plan.at <= now:
                self._budget -= 1
                plan.at, plan.wait = now + plan.wait, min(2 * plan.wait, LONGEST)
                plan.asked += 1
                del self._wanted[node]
                if plan.asked < PATIENCE:
                    self._wanted[node] = None  # to the end: everybody's turn comes
                else:
                    plan.wanted = False
                found.append(node)
        return found
