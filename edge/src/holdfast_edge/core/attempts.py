"""Attempts: may this step run now?

Failures back off 1 s, 2 s, 4 s … to 5 min; a permanent one is tried again every 5 min, in case the
machine was mended meanwhile; what is unsupported is not, before the wanted digest changes or the agent starts again.
Successes that do not last (somebody undoes our change again and again) back off the same way after a few repairs, and
after some more we stop joining: contested, tried again once an hour, or at a newer target.
Everything is keyed by (key, digest), so a newer target starts afresh. [inv: newer-target-cancels-retries]
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from holdfast_edge.core.steps import Change, Step, digest_of
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from holdfast_protocol.wire.names import ResourceKey

FIRST: Final = 1.0  # seconds
LONGEST: Final = 300.0  # seconds
FREE_REPAIRS: Final = 5  # in a row before repairs are slowed down
LASTED: Final = 120.0  # seconds a change must have lasted for the count of repairs to start again
BUDGET: Final = 10  # repairs in a row before they count as a contest
COOL_DOWN: Final = 3600.0  # seconds between two tries at what is contested
MAX_TEXT: Final = 500  # characters of an error kept

CONTESTED_HINT: Final = "find out who changes it back; or say holdfast.io/drift: report, and it is left alone"

Outcome = Literal["done", "contested", "transient", "permanent", "unsupported"]
MADE: Final = ("done", "contested")  # the change was made, whether or not it lasted


class Attempt(msgspec.Struct, frozen=True):
    """The last try at (key, digest). Times are seconds since the boot named."""

    key: ResourceKey
    digest: str  # wanted by the step; "" for a removal
    outcome: Outcome
    count: int  # failures, or repairs, in a row
    at: float
    not_before: float
    boot_id: str
    reason: str = ""
    message: str = ""
    hint: str = ""

    @property
    def final(self) -> bool:
        """Only a change of the machine or of what is wanted can make another try succeed."""
        return self.outcome in ("permanent", "unsupported")


def backoff(count: int, jitter: float) -> float:
    """Return the seconds to wait after `count` (1 upwards) in a row; `jitter` in 0..1 spreads the upper half."""
    full = min(FIRST * 2.0 ** min(count - 1, 20), LONGEST)
    return full * (0.5 + 0.5 * jitter)


def failed(
    previous: Attempt | None,
    key: ResourceKey,
    digest: str,
    error: ProviderError,
    *,
    now: float,
    boot_id: str,
    jitter: float,
) -> Attempt:
    """Return the attempt after an error. A transient error's `after` only ever lengthens the wait."""
    same = previous is not None and previous.digest == digest and previous.outcome not in MADE
    count = (previous.count if same and previous is not None else 0) + 1
    after = error.after if isinstance(error, TransientError) else 0.0
    return Attempt(
        key,
        digest,
        _outcome(error),
        count,
        now,
        now + (LONGEST if not isinstance(error, TransientError) else max(backoff(count, jitter), after)),
        boot_id,
        error.reason,
        error.message[:MAX_TEXT],
        error.hint[:MAX_TEXT],
    )


def _outcome(error: ProviderError) -> Outcome:
    match error:
        case UnsupportedError():
            return "unsupported"
        case PermanentError():
            return "permanent"
        case TransientError():
            return "transient"
        case _:
            return "permanent"  # an error nobody classified is reported, not repeated


def done(
    previous: Attempt | None,
    key: ResourceKey,
    digest: str,
    *,
    now: float,
    boot_id: str,
    jitter: float,
    differences: Sequence[str] = (),
) -> Attempt:
    """Return the attempt after a success. `differences` are what was repaired."""
    repeated = (
        previous is not None
        and previous.digest == digest
        and previous.outcome in MADE
        and previous.boot_id == boot_id
        and now - previous.not_before < LASTED
    )
    count = (previous.count if repeated and previous is not None else 0) + 1
    if count > BUDGET:
        message = f"changed back {count - 1} times: {'; '.join(differences)}"[:MAX_TEXT]
        return Attempt(
            key, digest, "contested", count, now, now + COOL_DOWN, boot_id, "Contested", message, CONTESTED_HINT
        )
    slower = backoff(count - FREE_REPAIRS, jitter) if count > FREE_REPAIRS else 0.0
    return Attempt(key, digest, "done", count, now, now + slower, boot_id)


def due_at(attempt: Attempt | None, digest: str, *, now: float, boot_id: str) -> float | None:
    """Return when a step at `digest` may run, in seconds since boot (`now` or before: now); None means never."""
    if attempt is None or attempt.digest != digest:
        return now
    if attempt.outcome == "unsupported":
        return None
    return attempt.not_before if attempt.boot_id == boot_id else now


class Due(msgspec.Struct, frozen=True):
    """What of a plan may run now, and when the rest may: seconds since boot, None for not at this digest."""

    now: tuple[Change, ...]
    later: dict[ResourceKey, float | None]

    @property
    def next_at(self) -> float | None:
        return min((at for at in self.later.values() if at is not None), default=None)


def due(plan: Iterable[Step], attempts: Mapping[ResourceKey, Attempt], *, now: float, boot_id: str) -> Due:
    """Return the changes of a plan split by what its attempts allow."""
    ready: list[Change] = []
    later: dict[ResourceKey, float | None] = {}
    for step in plan:
        if isinstance(step, get_args(Change)):
            at = due_at(attempts.get(step.key), digest_of(step), now=now, boot_id=boot_id)
            if at is not None and at <= now:
                ready.append(step)
            else:
                later[step.key] = at
    return Due(tuple(ready), later)
