"""Transaction: what a turn of the loop does for the newest target, before the look and after it.

A look at a site that is stable, or was brought back, costs one comparison here.
"""

from typing import Final

import anyio.abc
import msgspec

from holdfast_edge.core import progress, transaction
from holdfast_edge.core.steps import Change, Create, Gated, Remove, Update
from holdfast_edge.core.transaction import ENDED, Now, Transaction
from holdfast_edge.providers.port import Scope
from holdfast_edge.reconcile.site import Goal, Site, View
from holdfast_protocol.wire.messages import Condition, Progress
from holdfast_protocol.wire.names import ResourceKey

AT_ONCE: Final = 0.05  # seconds a turn waits for a preparation: most need no fetching


async def begin(site: Site, group: anyio.abc.TaskGroup) -> None:
    """Take up a newer target, or one that a person wants tried again, and what its preparation has come to.

    [inv: newer-target-cancels-retries] Raises TransientError when the step cannot be kept; then it is not made.
    """
    newest, now = site.newest(), _now(site)
    site.kept_back = ()
    if newest is None:
        return
    it = site.transactions.current
    if it is None or not transaction.is_about(it, newest.target) or site.again:
        site.preparer.stop()
        if site.dead_man is not None and (site.again or (it is not None and it.digest == newest.target.digest)):
            await site.dead_man.forgive()
        if site.again:
            await site.attempts.forget_others(())
            it = transaction.begun(newest.target, now)
        else:
            it = transaction.followed(it, newest.target, now)
        contested = {key for key, tried in site.attempts.held.items() if tried.outcome == "contested"}
        if contested:
            await site.attempts.forget_others(site.attempts.held.keys() - contested)
        await _move(site, it)
        site.again = False
    if it.stage != "preparing":
        return
    if now.protects and site.prepares is not newest:
        _start(site, group, newest, now)
        await site.preparer.settle(AT_ONCE)
    tried = site.preparer.tried()
    if tried.done and tried.refusal is None and not _may_begin(site, newest):
        tried = msgspec.structs.replace(tried, done=False, waits=True)
    after = transaction.prepared(it, tried, now)
    if after.stage != "preparing":
        site.preparer.stop()
        site.prepares = None
    await _move(site, after)


def _changes(site: Site, newest: Goal) -> tuple[Change, ...]:
    """Return what the newest target would change of what is ours and applied."""
    owned = site.owned.things
    made = [
        Update(wanted, ()) if key in owned else Create(wanted)
        for key, wanted in sorted(newest.wanted.items())
        if key not in owned or owned[key].digest != wanted.digest
    ]
    gone = [Remove(key, owned[key].body) for key in sorted(owned) if key not in newest.wanted]
    return (*made, *gone)


def _may_begin(site: Site, newest: Goal) -> bool:
    """Return whether anything of the newest target may begin now. Until then the machine is kept, and repaired, as the
    target before it says: what waits for its window does not go unattended."""
    changes = _changes(site, newest)
    if not newest.target.content.windows or not changes:
        return True
    now, owned = site.moment(), site.owned.things
    site.gatekeeper.judge(newest.target, changes, owned, now, whole=False)
    steps, _ = site.gatekeeper.windowed(changes, owned, now, back=False)
    waiting = tuple(step for step in steps if isinstance(step, Gated))
    if len(waiting) < len(steps):
        return True
    site.kept_back = waiting
    return False


def _start(site: Site, group: anyio.abc.TaskGroup, newest: Goal, now: Now) -> None:
    changes = _changes(site, newest)
    if newest.target.content.windows:
        site.gatekeeper.judge(newest.target, changes, site.owned.things, site.moment(), whole=False)
    changed = [change.resource for change in changes if not isinstance(change, Remove)]
    scope = Scope(newest.wanted, {key: thing.body for key, thing in site.owned.things.items()})
    site.preparer.start(group, changed, scope, newest.graph, checked=now.can_go_back)
    site.prepares = newest


async def judge(site: Site, view: View) -> None:
    """Take what a look says of the target. Raises as `begin`."""
    it, goal = site.transactions.current, view.goal
    if it is None or goal is None or it.stage in ENDED or it.stage == "preparing":
        return
    picture = progress.Picture(
        goal.wanted,
        site.owned.things,
        view.observed,
        view.blind,
        view.plan,
        site.attempts.held,
        view.unsupported,
        site.executor.stuck({*goal.wanted, *site.owned.things}),
    )
    seen = progress.seen(picture, site.limits.progress)
    if site.dead_man is not None and site.dead_man.on_trial:
        seen = msgspec.structs.replace(seen, settled=False, waits=True)
    after = transaction.looked(it, seen, _now(site))
    await _move(site, after)
    if after.stage != it.stage:
        site.wakes.wake()


async def _move(site: Site, it: Transaction) -> None:
    if it is not site.transactions.current:
        await site.transactions.move(it, at=int(site.clock.wall() * 1000))


def _now(site: Site) -> Now:
    newest, good = site.targets.current, site.targets.last_good_target
    protects = newest is not None and good is not None and good.digest != newest.digest
    return Now(site.clock.boottime(), site.origin.boot_id, site.limits, protects)


def patience(site: Site) -> float | None:
    """Return in how many seconds time alone could move the transaction; None when only news can."""
    it = site.transactions.current
    return None if it is None or it.stage in ENDED else transaction.again_in(it, _now(site))


def described(site: Site) -> tuple[Progress | None, dict[ResourceKey, Condition]]:
    """Return how far the newest target is, and the conditions of what of it the machine is not brought to now."""
    it, newest, held = site.transactions.current, site.newest(), site.goal()
    if newest is None:
        return None, {}
    if it is None or not transaction.is_about(it, newest.target):  # it could not be kept yet: the disk is full
        it = transaction.begun(newest.target, _now(site))
    good = site.targets.last_good_target
    kept_at = held.target.generation if held is not None else 0
    said = progress.progress(
        it,
        held=kept_at,
        last_good=good.generation if good is not None else 0,
        bad=tuple(each.digest for each in site.transactions.bad),
    )
    if held is newest:
        return said, {}
    apart = progress.set_aside(it, newest.wanted, held.wanted if held is not None else {}, kept_at)
    waiting = {step.key: Condition("Waiting", step.reason, f"{step.gate}: {step.message}") for step in site.kept_back}
    return said, {key: waiting.get(key, condition) for key, condition in apart.items()}
