"""The order of a blueprint's resources, from what their expressions refer to."""

import heapq
from collections.abc import Mapping, Sequence

Depends = Mapping[str, frozenset[str]]  # by id: the ids it needs


def cycle(depends: Depends) -> list[str]:
    """Return ids that need each other in a circle, the first again at the end; empty when there is none."""
    done: set[str] = set()
    for start in depends:
        trail: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            each, leaving = stack.pop()
            if leaving:
                done.add(trail.pop())
            elif each in trail:
                return [*trail[trail.index(each) :], each]
            elif each not in done:
                trail.append(each)
                stack.append((each, True))
                stack.extend((needed, False) for needed in sorted(depends[each], reverse=True))
    return []


def order(ids: Sequence[str], depends: Depends) -> list[str]:
    """Return the ids so that each follows what it needs: of those that may come, always the one declared first."""
    position = {each: index for index, each in enumerate(ids)}
    missing = {each: len(depends[each]) for each in ids}
    dependants = _dependants(ids, depends)
    ready = [position[each] for each in ids if not missing[each]]
    heapq.heapify(ready)
    ordered = []
    while ready:
        each = ids[heapq.heappop(ready)]
        ordered.append(each)
        for other in dependants[each]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, position[other])
    return ordered


def waves(ids: Sequence[str], depends: Depends) -> dict[str, int]:
    """Return the wave of each id, 1 the first to make and the last to remove; what nothing needs is in the last."""
    dependants = _dependants(ids, depends)
    above: dict[str, int] = {}
    for each in reversed(order(ids, depends)):
        above[each] = max((above[other] + 1 for other in dependants[each]), default=0)
    last = max(above.values(), default=0)
    return {each: last - above[each] + 1 for each in ids}


def _dependants(ids: Sequence[str], depends: Depends) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {each: [] for each in ids}
    for each in ids:
        for needed in depends[each]:
            found[needed].append(each)
    return found
