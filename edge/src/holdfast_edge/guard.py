"""Guard: what is started outside the agent to go back from a trial when the agent does not. See `rescue` for what it does.

A timer of systemd's own where there is one: it outlives a kill of the agent and of all its children. Else a process of
its own, which a kill of the agent alone leaves. A reboot needs neither: an agent that starts finds the trial on disk.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio.to_thread

from holdfast_protocol.errors import TransientError

_BOOTED: Final = Path("/run/systemd/system")
_WITHIN: Final = 15.0  # seconds for systemd-run
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def command(config: Path, trial: str, *more: str) -> list[str]:
    """Return how the guard of a trial is started."""
    start = [sys.executable, "-m", "holdfast_edge.cli.main"]
    return [*start, "guard", "--config", str(config), "--trial", trial, *more]


def guard_for(config: Path, folder: Path) -> "TimerGuard | ProcessGuard":
    """Return the guard this machine allows; `folder` is the agent's state."""
    if _BOOTED.is_dir() and os.geteuid() == 0 and shutil.which("systemd-run", path=_PATH):
        return TimerGuard(config, folder)
    return ProcessGuard(config)


class TimerGuard:
    """A transient timer for each change; the one before ends once the new one stands, so there is always one."""

    def __init__(self, config: Path, folder: Path) -> None:
        self._config = config
        mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self._name = f"holdfast-edge-guard-{mark}"
        self._number = 0
        self._armed: list[str] = []

    async def arm(self, trial: str, seconds: float) -> None:
        self._number += 1
        unit = f"{self._name}-{trial}-{self._number}"
        await anyio.to_thread.run_sync(
            _run,
            [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={unit}",
                f"--on-active={seconds:.0f}s",
                "--timer-property=AccuracySec=1s",
                f"--setenv=PATH={_PATH}",
                "--",
                *command(self._config, trial),
            ],
        )
        before, self._armed = self._armed, [unit]
        await self._stop(before)

    async def disarm(self) -> None:
        """One that an earlier agent armed finds its trial gone."""
        before, self._armed = self._armed, []
        await self._stop(before)

    async def _stop(self, units: list[str]) -> None:
        if units:
            await anyio.to_thread.run_sync(_run, ["systemctl", "stop", *(f"{unit}.timer" for unit in units)])


class ProcessGuard:
    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    async def arm(self, trial: str, seconds: float) -> None:
        before = self._process
        self._process = await anyio.to_thread.run_sync(
            _started, command(self._config, trial, "--after", f"{seconds:.0f}")
        )
        await anyio.to_thread.run_sync(_ended, before)

    async def disarm(self) -> None:
        before, self._process = self._process, None
        await anyio.to_thread.run_sync(_ended, before)


def _run(words: list[str]) -> None:
    program = shutil.which(words[0], path=_PATH)
    try:
        done = subprocess.run(
            [program or words[0], *words[1:]],
            capture_output=True,
            timeout=_WITHIN,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unguarded(str(error)) from None
    if done.returncode and words[0] == "systemd-run":
        raise _unguarded(done.stderr.decode(errors="replace").strip()[:300])


def _started(words: list[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise _unguarded(str(error)) from None


def _ended(process: "subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.kill()
        process.wait()


def _unguarded(why: str) -> TransientError:
    text = f"nobody would go back from the change if the agent could not: {why}"
    return TransientError(text, after=30.0, reason="NoGuard", hint="systemd-run must be able to start a timer")
