"""What is known of the runs of a Job or CronJob: what its ledger says and what its containers show, as one. Pure.

A run is one promise: so many completions of one template. An attempt is one Pod made for it. What ended stays ended,
whoever removes its containers: nothing that succeeded runs again. [inv: same-inputs-same-plan]
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from holdfast_edge.providers.container.found import Found

AttemptState = Literal["planned", "made", "succeeded", "failed"]
Outcome = Literal["", "Complete", "Failed"]
MAX_REMEMBERED: Final = 200  # runs that ended; a CronJob's due times in them are never taken twice


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """`planned`: written down before its containers are made; `made`: they were seen."""

    number: int
    index: int = 0
    state: AttemptState = "planned"
    ended_at: float = 0.0  # seconds since 1970

    @property
    def ended(self) -> bool:
        return self.state in ("succeeded", "failed")


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """`name` is "" for a Job's, the due time in seconds since 1970 for a CronJob's. Times are of the machine's clock."""

    name: str
    digest: str
    started_at: float
    attempts: tuple[Attempt, ...] = ()
    outcome: Outcome = ""
    reason: str = ""
    finished_at: float = 0.0
    cleared: bool = False  # its containers are to be gone

    @property
    def active(self) -> tuple[Attempt, ...]:
        return tuple(each for each in self.attempts if not each.ended)

    def count(self, state: AttemptState) -> int:
        return sum(each.state == state for each in self.attempts)


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """`since`: a CronJob was first seen, or its newest run was due; nothing before is made up for."""

    runs: tuple[Run, ...] = ()
    since: float = 0.0

    def run(self, name: str, digest: str = "") -> Run | None:
        return next((each for each in self.runs if each.name == name and digest in ("", each.digest)), None)

    def with_run(self, run: Run) -> "History":
        others = [each for each in self.runs if (each.name, each.digest) != (run.name, run.digest)]
        ended = [each for each in others if each.outcome]
        dropped = {(each.name, each.digest) for each in ended[: max(0, len(ended) - MAX_REMEMBERED)]}
        kept = [each for each in others if (each.name, each.digest) not in dropped]
        return msgspec.structs.replace(self, runs=(*kept, run))


def merged(history: History, found: Sequence[Found], now: float) -> History:
    """Return the history with what the containers found show.

    A run whose ledger was lost is known again by its containers. An attempt whose containers are gone without an end seen
    has failed: it may not be taken for one that never ran.
    """
    of_run: dict[tuple[str, str], list[Found]] = {}
    for each in found:
        of_run.setdefault((each.run, each.digest), []).append(each)
    for (name, digest), containers in sorted(of_run.items()):
        if history.run(name, digest) is None:
            began = min((each.started_at for each in containers if each.started_at), default=now)
            history = history.with_run(Run(name, digest, began))
    for run in history.runs:
        containers = of_run.get((run.name, run.digest), [])
        history = _replaced(history, _seen(run, containers, now))
    return history


def _replaced(history: History, run: Run) -> History:
    runs = tuple(run if (each.name, each.digest) == (run.name, run.digest) else each for each in history.runs)
    return msgspec.structs.replace(history, runs=runs)


def _seen(run: Run, found: Iterable[Found], now: float) -> Run:
    of_attempt: dict[int, list[Found]] = {}
    for each in found:
        if each.replica.isdigit():
            of_attempt.setdefault(int(each.replica), []).append(each)
    known = {each.number: each for each in run.attempts}
    for number, containers in of_attempt.items():
        known.setdefault(number, Attempt(number, containers[0].index))
    attempts = []
    for number in sorted(known):
        attempt = known[number]
        if not attempt.ended:
            attempt = _judged(attempt, of_attempt.get(number, []), now)
        attempts.append(attempt)
    return msgspec.structs.replace(run, attempts=tuple(attempts))


def _judged(attempt: Attempt, containers: Sequence[Found], now: float) -> Attempt:
    if not containers:
        if attempt.state == "planned":
            return attempt
        return msgspec.structs.replace(attempt, state="failed", ended_at=now)
    main = [each for each in containers if not each.initial]
    over = [each for each in main if _is_over(each)]
    at = max((each.finished_at for each in over), default=now)
    if main and len(over) == len(main) and len(main) >= main[0].siblings:
        good = all(each.state == "exited" and each.exit_code == 0 for each in over)
        return msgspec.structs.replace(attempt, state="succeeded" if good else "failed", ended_at=at)
    if not main and any(_is_over(each) and each.exit_code != 0 for each in containers):
        return msgspec.structs.replace(attempt, state="failed", ended_at=now)
    return msgspec.structs.replace(attempt, state="made")


def _is_over(each: Found) -> bool:
    """Return whether a container has ended and neither the engine nor we start it again."""
    if each.state == "dead":
        return True
    if each.state != "exited" or not each.started_at:
        return False
    return each.exit_code == 0 or each.retries == 0 or each.restarts >= each.retries
