"""Rescue: what a guard does when its time has come and the trial still stands: the agent is gone, or hangs.

Ends the agent, brings back what stood before the trial, and leaves the word of it for the agent's next start. Nothing of
the database is touched: it is the agent's alone.
"""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.core.trial import Trial
from holdfast_edge.equipment import equipped
from holdfast_edge.lock import held_by, locked
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.dead_man import taken_back
from holdfast_edge.settings import Settings
from holdfast_edge.store import trials
from holdfast_edge.store.trials import Kept
from holdfast_protocol.errors import ConflictError, PermanentError, ProviderError
from holdfast_protocol.runtime import clock as clocks

TRIES: Final = 5
CAUSE: Final = "the agent was gone or hung, and did not try the way to the hub"


async def run_rescue(settings: Settings, config: Path, trial_id: str, after: float) -> str:
    """Wait `after` seconds and do what is to be done; return what that was. Raises ProviderError when it cannot be done."""
    folder, clock = Path(settings.state_dir), clocks.SystemClock()
    await clock.sleep(after)
    for _ in range(TRIES):
        trial = trials.read(folder).trial
        if trial is None or trial.id != trial_id:
            return "the trial is over"
        rest = trial.since + settings.dead_man.guard_s - clock.boottime()
        if trial.boot_id == clocks.boot_id() and rest > 0:
            await clock.sleep(rest)
            continue
        try:
            with locked(folder, who="guard"):
                return await _go_back(settings, config, folder)
        except ConflictError:
            _end(held_by(folder))
            await clock.sleep(0.2)
    raise PermanentError("the agent could not be ended", reason="AgentHangs")


async def _go_back(settings: Settings, config: Path, folder: Path) -> str:
    kept = trials.read(folder)  # again: the agent may have been quicker
    if kept.trial is None:
        return "the trial is over"
    trial: Trial = msgspec.structs.replace(kept.trial, cause=kept.trial.cause or CAUSE)
    trials.write(folder, Kept(trial, kept.refused))
    chosen = equipped(settings, config)
    failures: list[ProviderError] = []
    for change in reversed(trial.changes):
        try:
            await asked(
                taken_back(change, chosen),
                within=settings.timing.change_within_s,
                phase="revert",
                resource=change.key,
            )
        except ProviderError as error:  # another of them may be what cuts the way
            failures.append(error)
    for provider in chosen.providers:
        await provider.close()
    if failures:
        raise failures[0]
    return f"gone back from {', '.join(each.key for each in trial.changes)}"


def _end(pid: int) -> None:
    """Kill the agent: it did not go back in its time."""
    if pid <= 1:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.02)
