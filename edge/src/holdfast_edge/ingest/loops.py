"""One loop a kept resource: begun, ended and begun anew as what is wanted changes; one that fails is tried again, alone."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
import anyio.to_thread

from holdfast_edge.store.sources import Kept, Sources
from holdfast_protocol.errors import HoldfastError, PermanentError, first_of
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LONGEST, Backoff
from holdfast_protocol.wire.names import ResourceKey

CHANCE: Final = 1.0  # of the longest wait: loops of one node need no jitter


async def run_loops(
    files: Sources,
    run_one: Callable[[Kept], Awaitable[None]],
    settle: Callable[[Mapping[ResourceKey, Kept]], Awaitable[None]],
) -> None:
    """Run `run_one` for everything that `files` keep until cancelled.

    `settle` is called after each change with what is wanted now: what is not runs no more, what is new does not run yet.
    """
    await _Loops(files, run_one, settle).run()


class _Loops:
    def __init__(
        self,
        files: Sources,
        run_one: Callable[[Kept], Awaitable[None]],
        settle: Callable[[Mapping[ResourceKey, Kept]], Awaitable[None]],
    ) -> None:
        self._files = files
        self._run_one = run_one
        self._settle = settle
        self._running: dict[ResourceKey, tuple[str, anyio.CancelScope, anyio.Event]] = {}  # digest, scope, ended

    async def run(self) -> None:
        files = self._files
        await anyio.to_thread.run_sync(lambda: files.kept)
        async with anyio.create_task_group() as group:
            while True:
                revision, forgotten = files.revision, files.forgotten()
                kept = files.kept
                for key, (digest, *_) in list(self._running.items()):
                    if key not in kept or kept[key].digest != digest or key in forgotten:
                        await self._end(key)
                await self._settle(kept)
                for key, each in kept.items():
                    if key not in self._running:
                        scope, ended = anyio.CancelScope(), anyio.Event()
                        self._running[key] = (each.digest, scope, ended)
                        group.start_soon(self._run, each, scope, ended)
                await files.changed(revision)

    async def _end(self, key: ResourceKey) -> None:
        """Return once a loop has let go of all it held."""
        _, scope, ended = self._running.pop(key)
        scope.cancel()
        await ended.wait()

    async def _run(self, kept: Kept, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        try:
            with scope:
                await self._run_one(kept)
        finally:
            ended.set()


async def run_anew(
    serve: Callable[[], Awaitable[None]],
    failed: Callable[[HoldfastError], None],
    clock: Clock,
    *,
    backoff: Backoff | None = None,
    until: str = "",
) -> None:
    """Call `serve` again and again, with ever longer waits unless it lasted; `failed` is told why it ended.

    Raises what ends it for the reason `until`.
    """
    backoff = backoff or Backoff()
    while True:
        began = clock.boottime()
        error: HoldfastError = PermanentError("it came to its end", reason="Ended")
        try:
            await serve()
        except* HoldfastError as group:
            error = first_of(group)
        failed(error)
        if error.reason == until:
            raise error
        if clock.boottime() - began > LONGEST:
            backoff.reset()
        await clock.sleep(backoff.wait(error.reason, CHANCE, clock.boottime()))
