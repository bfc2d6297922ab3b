"""The loop: look, plan what is possible now, start it, say it, wait. Level-triggered: every look begins from nothing."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final, get_args

import anyio
import anyio.abc
import msgspec

from holdfast_edge.core import attempts, report
from holdfast_edge.core.diff import diff
from holdfast_edge.core.drift import conditions, tolerated
from holdfast_edge.core.gates import gate_of
from holdfast_edge.core.holds import Moment
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.progress import kept_up
from holdfast_edge.core.steps import Change, Restart, Step, Wait, Work
from holdfast_edge.core.transaction import ENDED
from holdfast_edge.providers.port import Scope
from holdfast_edge.reconcile import transaction
from holdfast_edge.reconcile.executor import Batch
from holdfast_edge.reconcile.observe import Sight
from holdfast_edge.reconcile.site import Goal, Site, View
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire import reboots
from holdfast_protocol.wire.messages import Hold, Override, Status
from holdfast_protocol.wire.names import ResourceKey

REST: Final = 0.02  # seconds at least between two looks; as long as the last look took, so never more than half busy
MAX_REST: Final = 1.0


async def run_reconcile(site: Site) -> None:
    """Bring the site to its target, for ever. The hub's silence changes nothing. [inv: hub-silence-changes-nothing]"""
    async with anyio.create_task_group() as group:
        if site.dead_man is not None:
            await _kept(site, site.dead_man.recover())
            group.start_soon(site.dead_man.run)
        while True:
            site.wakes.take()
            site.refused = False
            began = site.clock.boottime()
            await _kept(site, transaction.begin(site, group))
            ended = site.executor.ended
            view = await look(site, group)
            await _kept(site, transaction.judge(site, view))
            if (view.goal, view.newest) != (site.goal(), site.newest()):  # what was seen was for another
                continue
            if view.goal is not None:
                scope = Scope(view.goal.wanted, _previous(site))
                site.executor.start(group, _batch(site, view, view.goal, scope), ended)
            await _kept(site, _restarted(site, view))
            await say(site, view)
            if not site.refused and site.board.note("database", ""):
                site.wakes.wake()
            took = site.clock.boottime() - began
            await site.wakes.wait(at_least=min(max(REST, took), MAX_REST), at_most=_patience(site, view))


async def look(site: Site, group: anyio.abc.TaskGroup) -> View:
    """Return what is wanted, what is there and what may be done about it now."""
    now = site.moment()
    await _kept(site, site.holds.expire(now))
    if site.targets.current is not None:
        wanted = site.targets.current.content.holds
        await _kept(site, site.holds.follow(wanted, now))
        await _kept(site, site.overrides.follow(site.targets.current.content.overrides, now))
    await _kept(site, site.overrides.expire(now))
    goal = site.goal()
    newest = site.newest()
    if goal is None:  # nothing is wanted and nothing unwanted: what is owned stays
        return View(None, newest, {}, {}, site.holds.active(now), (), attempts.Due((), {}))
    sight = await site.observer.look(group, Scope(goal.wanted, _previous(site)))
    goal, sight = await _evaluated(site, group, goal, sight)
    if site.dead_man is not None:
        sight = Sight(site.dead_man.shown(sight.observed), sight.blind)
    newest = site.newest()
    now, holds = site.moment(), site.holds.active(now)
    tried = site.attempts.held
    unsupported = frozenset(
        key
        for key, attempt in tried.items()
        if attempt.outcome == "unsupported" and key in goal.wanted and goal.wanted[key].digest == attempt.digest
    )
    seen, drifted = tolerated(site.lenient(goal), goal.wanted, site.owned.things, sight.observed)
    plan = diff(goal.wanted, goal.graph, seen, site.owned.things, holds, unsupported)
    if site.is_preparing:
        plan = kept_up(plan, site.owned.things)
    restart = await _restart(site, goal, seen, holds, now)
    plan, restart, due, ends = await _may_begin(
        site, group, plan, restart, now, whole=not sight.blind and not site.is_preparing
    )
    if site.dead_man is not None:
        plan, due = site.dead_man.apart(plan, due)
    await _kept(site, site.attempts.forget_others({*goal.wanted, *site.owned.things}))
    return View(goal, newest, seen, dict(sight.blind), holds, plan, due, unsupported, ends, restart, drifted)


async def _restart(
    site: Site, goal: Goal, seen: Mapping[ResourceKey, Observed], holds: tuple[Hold, ...], now: Moment
) -> Step | None:
    """Return the restart of the machine as it would be made now, to be judged like a change; None when none is wanted."""
    newest = site.targets.current
    if site.rebooter is None or newest is None:
        return None
    it, busy = site.transactions.current, ""
    if it is not None and it.stage not in ENDED and it.stage != "preparing":
        busy = f"generation {it.generation} is {it.stage}"
    elif site.dead_man is not None and site.dead_man.on_trial:
        busy = "changes are on trial"
    try:
        return await site.rebooter.look(newest, goal.wanted, seen, site.attempts.held, holds, busy, now)
    except TransientError as error:
        _note_refusal(site, error)
        return None


async def _restarted(site: Site, view: View) -> None:
    """Take the restart a step further, when nothing else is under way."""
    if site.rebooter is None or view.goal is None:
        return
    still = not view.due.now and not site.executor.running
    changes = any(isinstance(step, (*get_args(Change), Wait)) for step in view.plan)
    ready = all(each.readiness == "ready" for each in view.observed.values())
    converged = still and not changes and ready and not view.blind
    await site.rebooter.turn(view.restart, still=still, converged=converged, now=site.moment())


async def _evaluated(site: Site, group: anyio.abc.TaskGroup, goal: Goal, sight: Sight) -> tuple[Goal, Sight]:
    """Return what is wanted and seen after what the target leaves to this site was judged by the look."""
    sight = await site.evaluation.see(group, goal.target, goal.wanted, sight)
    after = site.goal()
    if after is not None and after.target is goal.target:
        goal = after
    return goal, await site.policing.see(group, goal.target, goal.wanted, sight)


async def _may_begin(
    site: Site, group: anyio.abc.TaskGroup, plan: tuple[Step, ...], restart: Step | None, now: Moment, *, whole: bool
) -> tuple[tuple[Step, ...], Step | None, attempts.Due, dict[ResourceKey, float]]:
    """Return plan and restart with what windows and "not now" keep back, what is due, and until when it may begin."""
    plan = plan if restart is None else (*plan, restart)
    keeper, owned, newest = site.gatekeeper, site.owned.things, site.targets.current
    assert newest is not None
    keeper.judge(newest, plan, owned, now, whole=whole)
    plan, ends = keeper.windowed(plan, owned, now, back=site.goes_back)
    due = attempts.due(plan, site.attempts.held, now=now.boottime, boot_id=now.boot_id)
    asked: list[Work] = [each for each in due.now if not site.goes_back or gate_of(each, owned) == "drift"]
    asked += [each for each in plan if isinstance(each, Restart)]
    plan = await keeper.deferred(group, plan, asked, owned, now)
    due = attempts.due(plan, site.attempts.held, now=now.boottime, boot_id=now.boot_id)
    await _kept(site, keeper.save(now))
    judged = next((each for each in plan if each.key == reboots.KEY), None)
    return tuple(each for each in plan if each.key != reboots.KEY), judged, due, ends


async def say(site: Site, view: View) -> None:
    """Put the status on the board when it says something new."""
    goal = view.goal
    said, apart = transaction.described(site)
    picture = report.Picture(
        target=view.newest.target if view.newest else None,
        held=goal.target if goal else None,
        wanted=goal.wanted if goal else {},
        observed={**view.observed, **view.drifted},
        owned=site.owned.things,
        plan=view.plan,
        attempts=site.attempts.held,
        holds=view.holds,
        running=site.executor.running,
        blind=view.blind,
        problems=_problems(site),
        last_good=site.targets.last_good,
        progress=said,
        gates=site.gatekeeper.statuses(),
        apart={**conditions(view.drifted), **apart},
        decision=goal.decision if goal else None,
        instances=site.evaluation.statuses(goal.target) if goal else (),
        overrides=_overrides(site, goal),
        overridden=goal.laid.by if goal else {},
        bridges=site.bridges(),
        reboot=site.rebooter.status(site.moment()) if site.rebooter is not None else None,
    )
    now, before = site.moment(), site.board.status or site.remembered
    # Grows within a boot also when the database was lost.
    sequence = max(before.sequence + 1 if before else 0, int(now.boottime * 1000))
    status = report.status(picture, site.origin, before, at=int(now.wall * 1000), sequence=sequence)
    if status is not before or site.unsaved:
        await _kept(site, _saved(site, status))
    site.board.put(status)
    site.show(view)


def _overrides(site: Site, goal: Goal | None) -> tuple[Override, ...]:
    """Return what people here laid over the target, with why one of it is not in effect."""
    problems = goal.laid.problems if goal is not None else {}
    return tuple(msgspec.structs.replace(each, problem=problems.get(each.id, "")) for each in site.overrides.active)


async def _saved(site: Site, status: Status) -> None:
    site.unsaved = True
    await site.memory.save_status(status)
    site.unsaved = False


async def _kept(site: Site, write: Awaitable[None]) -> None:
    """Wait for a write that the next look would make again; a full disk is a problem to show and stops no repair."""
    try:
        await write
    except TransientError as error:
        _note_refusal(site, error)


def _note_refusal(site: Site, error: TransientError) -> None:
    """Show it from now on, until a whole turn has met none: what had nothing to write does not say that it could."""
    site.refused = True
    if site.board.note("database", f"{error.reason}: cannot write: {error.message}"):
        site.wakes.wake()


def _problems(site: Site) -> tuple[str, ...]:
    trouble = tuple(text for text in (site.owned.note, site.transactions.note, site.executor.trouble) if text)
    return (
        *site.damage,
        *site.targets.problems(),
        *trouble,
        *site.gatekeeper.problems(),
        *((said,) if site.rebooter is not None and (said := site.rebooter.problem()) else ()),
        *sorted(site.board.notes.values()),
    )


def _previous(site: Site) -> dict[ResourceKey, dict[str, Any]]:
    return {key: thing.body for key, thing in site.owned.things.items()}


def _batch(site: Site, view: View, goal: Goal, scope: Scope) -> Batch:
    return Batch(_purpose(site, goal), view.due.now, scope, goal.graph, view.ends)


def _purpose(site: Site, goal: Goal) -> str:
    """Return what a batch works for: a newer target ends what is under way, also while it is only prepared; one that
    differs in windows and holds only lets it finish."""
    newest = site.newest()
    return f"{goal.work} of {newest.work if newest else ''}"


def _patience(site: Site, view: View) -> float:
    """Return the seconds until time alone could change the plan: a retry, the end of a hold, the periodic look."""
    retry = view.due.next_at
    ends = min(
        (each for store in (site.holds, site.overrides) if (each := store.next_end(site.moment())) is not None),
        default=None,
    )
    waits = [site.look_every]
    if (moves := transaction.patience(site)) is not None:
        waits.append(moves)
    if (judged := site.gatekeeper.next_judgement(site.moment())) is not None:
        waits.append(judged)
    if site.rebooter is not None and (restarts := site.rebooter.patience(site.moment())) is not None:
        waits.append(restarts)
    if retry is not None:
        waits.append(retry - site.clock.boottime())
    if ends is not None:
        waits.append(ends)
    return max(min(waits), 0.0)
