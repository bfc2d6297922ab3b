"""The loop: look, plan what is possible now, start it, say it, wait. Level-triggered: every look begins from nothing."""

from collections.abc import Awaitable
from typing import Any, Final

import anyio
import anyio.abc

from holdfast_edge.core import attempts, report
from holdfast_edge.core.diff import diff
from holdfast_edge.providers.port import Scope
from holdfast_edge.reconcile.executor import Batch
from holdfast_edge.reconcile.site import Site, View
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.names import ResourceKey

REST: Final = 0.02  # seconds at least between two looks; as long as the last look took, so never more than half busy
MAX_REST: Final = 1.0


async def run_reconcile(site: Site) -> None:
    """Bring the site to its target, for ever. The hub's silence changes nothing. [inv: hub-silence-changes-nothing]"""
    async with anyio.create_task_group() as group:
        while True:
            site.wakes.take()
            began = site.clock.boottime()
            view = await look(site, group)
            if view.goal is not None:
                scope = Scope(view.goal.wanted, _previous(site))
                site.executor.start(group, Batch(view.goal.target.digest, view.due.now, scope, view.goal.graph))
            await say(site, view)
            took = site.clock.boottime() - began
            await site.wakes.wait(at_least=min(max(REST, took), MAX_REST), at_most=_patience(site, view))


async def look(site: Site, group: anyio.abc.TaskGroup) -> View:
    """Return what is wanted, what is there and what may be done about it now."""
    now = site.moment()
    await _kept(site, site.holds.expire(now))
    goal = site.goal()
    if goal is None:  # nothing is wanted and nothing unwanted: what is owned stays
        return View(None, {}, {}, site.holds.active(now), (), attempts.Due((), {}))
    sight = await site.observer.look(group, Scope(goal.wanted, _previous(site)))
    now, holds = site.moment(), site.holds.active(now)
    tried = site.attempts.held
    unsupported = frozenset(
        key
        for key, attempt in tried.items()
        if attempt.outcome == "unsupported" and key in goal.wanted and goal.wanted[key].digest == attempt.digest
    )
    plan = diff(goal.wanted, goal.graph, sight.observed, site.owned.things, holds, unsupported)
    due = attempts.due(plan, tried, now=now.boottime, boot_id=now.boot_id)
    await _kept(site, site.attempts.forget_others({*goal.wanted, *site.owned.things}))
    return View(goal, dict(sight.observed), dict(sight.blind), holds, plan, due)


async def say(site: Site, view: View) -> None:
    """Put the status on the board when it says something new."""
    goal = view.goal
    picture = report.Picture(
        target=goal.target if goal else None,
        wanted=goal.wanted if goal else {},
        observed=view.observed,
        owned=site.owned.things,
        plan=view.plan,
        attempts=site.attempts.held,
        holds=view.holds,
        running=site.executor.running,
        blind=view.blind,
        problems=_problems(site),
        last_good=site.targets.last_good,
    )
    now, before = site.moment(), site.board.status or site.remembered
    # Grows within a boot also when the database was lost.
    sequence = max(before.sequence + 1 if before else 0, int(now.boottime * 1000))
    status = report.status(picture, site.origin, before, at=int(now.wall * 1000), sequence=sequence)
    if status is not before:
        await _kept(site, site.memory.save_status(status))
    site.board.put(status)
    site.show(view)


async def _kept(site: Site, write: Awaitable[None]) -> None:
    """Wait for a write that the next look would make again; a full disk is a problem to show and stops no repair."""
    try:
        await write
    except TransientError as error:
        site.board.note("database", f"{error.reason}: cannot write: {error.message}")
    else:
        site.board.note("database", "")


def _problems(site: Site) -> tuple[str, ...]:
    trouble = tuple(text for text in (site.owned.note, site.executor.trouble) if text)
    return (*site.damage, *site.targets.problems(), *trouble, *sorted(site.board.notes.values()))


def _previous(site: Site) -> dict[ResourceKey, dict[str, Any]]:
    return {key: thing.body for key, thing in site.owned.things.items()}


def _patience(site: Site, view: View) -> float:
    """Return the seconds until time alone could change the plan: a retry, the end of a hold, the periodic look."""
    retry = view.due.next_at
    ends = site.holds.next_end(site.moment())
    waits = [site.look_every]
    if retry is not None:
        waits.append(retry - site.clock.boottime())
    if ends is not None:
        waits.append(ends)
    return max(min(waits), 0.0)
