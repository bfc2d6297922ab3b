"""Agent versions: installed beside the running one, started on trial, gone back from by somebody who needs neither.

The switch is one link; a timer of systemd and the launcher go back when the new version does not become healthy.
"""

import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

import holdfast_protocol
from holdfast_edge import launcher
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.version.slots import Slots
from holdfast_protocol.errors import PermanentError, TransientError, UnsupportedError, WireError
from holdfast_protocol.kinds import agent_version
from holdfast_protocol.kinds.agent_version import Spec
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class AgentVersionProvider:
    """`state`: the agent's folder; `started_from`: the folder of slots it was started from, "" for none."""

    kinds: tuple[str, ...] = ("AgentVersion",)

    def __init__(self, *, state: Path, started_from: str) -> None:
        self._state = state
        self._slots = Slots(state / "slots")
        self._is_ours = started_from == str(self._slots.folder)

    def check(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        others = sorted(key for key, each in scope.resources.items() if each.kind == "AgentVersion")
        if others and others[0] != resource.key:
            raise PermanentError(f"the agent's version is already {others[0]}'s", reason="NameTaken")
        if want.version != holdfast_protocol.VERSION and not self._is_ours:
            hint = "holdfast-edge slots, then let the unit start slots/launch.py"
            raise UnsupportedError("the agent was not started from a slot", reason="NoSlots", hint=hint)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Install it beside the running one, and try whether it starts."""
        self.check(resource, scope)
        want = _want(resource)
        if want.version != holdfast_protocol.VERSION:
            await anyio.to_thread.run_sync(self._installed, want)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        return await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)

    async def apply(self, resource: Resource, scope: Scope) -> None:
        self.check(resource, scope)
        await anyio.to_thread.run_sync(self._apply, _want(resource))

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """The version stays: there is always one."""

    async def run_watch(self, wake: Wake) -> None:
        """A running agent does not change its version."""

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want, now = _want(resource), holdfast_protocol.VERSION
        status = {"version": now, "slot": self._slots.current if self._is_ours else ""}
        if now != want.version:
            return Observed(resource.key, True, (f"version: is {now}, wanted {want.version}",), status=status)
        if self._is_ours and self._slots.pending:
            text = "kept once it is healthy"
            return Observed(resource.key, True, readiness="progressing", reason="OnTrial", message=text, status=status)
        return Observed(resource.key, True, status=status)

    def _installed(self, want: Spec) -> str:
        mark = self._slots.install(Path(want.wheels), want.version)
        failed = self._slots.failed.get(want.version)
        if failed and failed.get("digest") == mark:
            text = f"{want.version} was gone back from: {failed.get('why')}"
            raise PermanentError(text, reason="FellBack", hint="other wheels are tried; these are not")
        return mark

    def _apply(self, want: Spec) -> None:  # [inv: agent-is-never-its-own-casualty]
        if want.version == holdfast_protocol.VERSION:
            return
        mark = self._installed(want)
        self._slots.back_up(self._state)
        name = secrets.token_hex(4)
        launch = str(self._slots.folder / "launch.py")
        _run(
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={launcher.GUARD}-{name}",
            f"--on-active={want.deadline_seconds}s",
            "--timer-property=AccuracySec=1s",
            f"--setenv=PATH={_PATH}",
            "--",
            _interpreter(self._slots),
            launch,
            "fall-back",
            name,
        )
        pending = {"id": name, "from": self._slots.current, "to": self._slots.other, "version": want.version}
        self._slots.switch({**pending, "digest": mark, "within": want.deadline_seconds, "tries": 0})
        _run("systemctl", "--no-block", "restart", launcher.UNIT)


def _interpreter(slots: Slots) -> str:
    return str(launcher.read(str(slots.folder / slots.current / "slot.json"))["python"])


def _want(resource: Resource) -> Spec:
    try:
        return agent_version.wanted(resource.spec, resource.name)
    except WireError as error:
        raise failures.refusal(error) from None


def _run(program: str, *words: str) -> None:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise UnsupportedError(f"there is no {program} here", reason="NoSystemd")
    try:
        done = subprocess.run([found, *words], capture_output=True, timeout=30.0, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransientError(f"{program}: {error}", reason="NoGuard") from None
    if done.returncode:
        raise TransientError(f"{program}: {done.stderr.decode(errors='replace')[:300]}", reason="NoGuard")
