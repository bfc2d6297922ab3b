"""The door to systemd as a port: what the provider asks and tells, whichever D-Bus library carries it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class UnitState(msgspec.Struct, frozen=True):
    """A unit as systemd has it; words as in systemctl. `file_state` is what its files on disk say now."""

    name: str
    load: str = "not-found"  # loaded, not-found, bad-setting, error, masked
    active: str = "inactive"  # active, reloading, activating, deactivating, inactive, failed, maintenance
    sub: str = "dead"  # running, exited, auto-restart, start-pre, …
    job: str = ""  # a job waiting or running: start, stop, restart, …
    file_state: str = (
        ""  # enabled, enabled-runtime, disabled, static, indirect, masked, masked-runtime, …; "" for no file
    )
    result: str = ""  # of a unit that is not well: exit-code, signal, timeout, start-limit-hit, …
    restarts: int = 0  # by systemd itself, of a unit that is not well
    status: int = 0  # exit status or signal of the main process, of a unit that is not well


class SystemdBackend(Protocol):
    """Every call raises TransientError when systemd cannot be reached and PermanentError when it refuses."""

    async def states(self, names: Sequence[str], *, fresh: bool) -> Mapping[str, UnitState]:
        """Return the state of every name, also of units nobody knows. `fresh`: unit files may have changed on the
        disk since the last call, so what was remembered of them is worth nothing."""
        ...

    async def reload(self) -> None:
        """Read all unit files again; done on return."""
        ...

    async def enable(self, name: str, *, again: bool = False) -> None:
        """Make the links its [Install] section says; with `again` drop the ones an older text made first."""
        ...

    async def disable(self, name: str, *, runtime: bool = False) -> None:
        """Remove the links of its [Install] section. No effect on a unit without a file."""
        ...

    async def mask(self, name: str) -> None:
        """Make it impossible to start, by a link that stands where its file would be."""
        ...

    async def unmask(self, name: str, *, runtime: bool = False) -> None: ...

    async def start(self, name: str) -> None:
        """Queue a start; how it goes is seen in the state."""
        ...

    async def restart(self, name: str, *, only_if_up: bool = False) -> None: ...

    async def refresh(self, name: str) -> None:
        """Have a unit that is up take its new settings without stopping: of a mount, a remount."""
        ...

    async def stop(self, name: str, *, within: float) -> bool:
        """Stop and return whether it has stopped within so many seconds; True for a unit nobody knows."""
        ...

    async def properties(self, name: str, asked: Sequence[str]) -> Mapping[str, Any]:
        """Return what a unit tells of itself as this kind of unit (NextElapseUSecRealtime of a timer), without what it
        does not know."""
        ...

    async def reset_failed(self, name: str) -> None:
        """Forget failures and start limits. No effect on a unit nobody knows."""
        ...

    async def reboot(self) -> None:
        """Have the machine stopped in order and started again; it goes on ending after the return."""
        ...

    def follow(self, names: Collection[str]) -> None:
        """Signal changes of exactly these units from now on."""
        ...

    async def run_signals(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a followed unit, or the set of unit files, changes, and after every reconnect; for ever."""
        ...

    async def close(self) -> None: ...
