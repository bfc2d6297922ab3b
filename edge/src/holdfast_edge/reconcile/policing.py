"""Policing: a look leaves alone what the target's policies forbid. Each body is judged once, in a thread, in bounded time."""

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread

from holdfast_edge.core import policies
from holdfast_edge.reconcile.asking import asked
from holdfast_edge.reconcile.observe import Sight
from holdfast_protocol.errors import ProviderError
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, Target


class Policing:
    def __init__(self, *, deadline: float) -> None:
        """`deadline` is in seconds for one target."""
        self._deadline = deadline
        self._policies: tuple[dict[str, Any], ...] = ()
        self._judged: dict[ResourceKey, str] = {}
        self._refused: dict[ResourceKey, Condition] = {}
        self._broken: dict[ResourceKey, Condition] = {}  # what the last judgement broke on: made again at the next look
        self._running: anyio.Event | None = None

    async def see(
        self, group: anyio.abc.TaskGroup, target: Target, wanted: Mapping[ResourceKey, Resource], sight: Sight
    ) -> Sight:
        """Return a look in which what is forbidden cannot be looked at, with the reason: it is not applied, and what runs
        stays. `group` outlives a judgement that does not end in time."""
        if not target.content.policies:
            return sight
        if target.content.policies != self._policies and self._running is None:
            self._policies, self._judged, self._refused = target.content.policies, {}, {}
        open_ = policies.fresh(wanted, self._judged)
        if len(self._judged) > 2 * len(wanted) and self._running is None:
            self._judged = {key: mark for key, mark in self._judged.items() if key in wanted}
            self._refused = {key: each for key, each in self._refused.items() if key in wanted}
        if open_ and self._running is None:
            self._running = running = anyio.Event()
            group.start_soon(self._judge, open_, running)
            with anyio.move_on_after(self._deadline):
                await running.wait()
        if target.content.policies == self._policies:
            open_ = policies.fresh(wanted, self._judged)
            refused = {key: each for key, each in self._refused.items() if key in wanted}
        else:
            open_, refused = list(wanted.values()), {}
        late = f"not judged within {self._deadline:g} s"
        refused |= policies.unchecked(open_, late, reason="EvaluationTimeout")
        refused |= {each.key: self._broken[each.key] for each in open_ if each.key in self._broken}
        observed = {key: seen for key, seen in sight.observed.items() if key not in refused}
        return Sight(observed, {**sight.blind, **refused})

    async def _judge(self, open_: list[Resource], running: anyio.Event) -> None:
        try:
            work = anyio.to_thread.run_sync(policies.refusals, self._policies, open_, abandon_on_cancel=True)
            found = await asked(work, within=float("inf"), phase="policy")
        except ProviderError as error:  # a bug of ours, or no memory: nothing is let through
            self._broken = policies.unchecked(open_, error.message, reason=error.reason)
            return
        finally:
            self._running = None
            running.set()
        self._broken = {}
        marks = policies.marks(open_)
        kept = {key: each for key, each in self._refused.items() if key not in marks}
        self._refused, self._judged = {**kept, **found}, {**self._judged, **marks}
