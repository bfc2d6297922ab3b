"""Restarts: whether this machine needs one, may begin one now, and what came of the last.

Loops are prevented without a clock: a machine restarts only when it has been up for the policy's time, and for the same
cause only so many times. Both are remembered over boots, told apart by their ids; what a change of a resource causes is
served by one boot. Pure: told the time, and what the machine says.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from holdfast_edge.core.attempts import MADE, Attempt
from holdfast_edge.core.holds import Moment, left
from holdfast_edge.core.observed import Observed
from holdfast_protocol.wire.messages import RebootReport
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.reboots import ANNOTATION, MAX_SECONDS, Policy
from holdfast_protocol.wire.reboots import Request as HubRequest
from holdfast_protocol.wire.target import Resource

BEGINS: Final = 300.0  # seconds in which a restart that was asked for has to begin
FORGETS: Final = 24 * 3600.0  # seconds of one boot without a cause, after which its restarts are forgotten
CONVERGES: Final = 900.0  # seconds after a boot in which the target has to be reached again
MAX_TEXT: Final = 300
MAX_NEEDS: Final = 50
MAX_TRIES: Final = 200  # causes whose restarts are remembered
CHANGED: Final = "changed:"
SAYS: Final = "needsBoot"

DID_NOT_HELP: Final = (
    "look at the machine; holdfast site reboot SITE, or holdfast-edge reboot there, tries it once more"
)


class Ground(msgspec.Struct, frozen=True):
    """What the machine says. `newest`: the newest kernel it has installed where the one that runs lies, "" for none."""

    required: bool = False
    packages: tuple[str, ...] = ()
    kernel: str = ""
    newest: str = ""


class Need(msgspec.Struct, frozen=True):
    """Why a restart is needed. `cause` stays the same for the same need, over boots."""

    cause: str
    text: str

    @property
    def is_served_once(self) -> bool:
        return _is_served_once(self.cause)


def _is_served_once(cause: str) -> bool:
    return cause.startswith(CHANGED)


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """That somebody wants one. It ends like a hold; `made_at` in seconds of that boot, `until` in ms since 1970."""

    id: str
    reason: str
    by: str
    until: int
    seconds: float
    made_at: float
    boot_id: str
    remote: bool = False
    served: bool = False


class Going(msgspec.Struct, frozen=True, omit_defaults=True):
    """A restart that was begun: kept before systemd is asked. `at` in ms since 1970, `began` in seconds of that boot."""

    boot_id: str
    at: int
    began: float
    causes: tuple[str, ...]
    texts: tuple[str, ...]
    requests: tuple[str, ...] = ()


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered. `up_from`: when this boot was first seen, in its seconds. `unserved`: causes of changes for which
    a restart was begun in this boot, and did not come."""

    boot_id: str = ""
    up_from: float = 0.0
    since: dict[str, int] = {}  # by cause, ms since 1970
    tries: dict[str, int] = {}  # restarts made for it
    said: tuple[str, ...] = ()  # causes that were given up loudly
    unserved: tuple[str, ...] = ()
    requests: tuple[Request, ...] = ()
    going: Going | None = None
    last: RebootReport | None = None


class Wish(msgspec.Struct, frozen=True):
    """What a look comes to. `texts`: why one is needed; `go`: it may begin, as far as this says; else `waits` says what
    for, `until` how long in seconds since boot. `given_up` are needs that restarts did not help."""

    needs: tuple[Need, ...] = ()
    requests: tuple[Request, ...] = ()
    go: bool = False
    waits: str = ""
    until: float | None = None
    given_up: tuple[Need, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        asked = tuple(f"{each.by or 'somebody'} asks: {each.reason}" for each in self.requests)
        return (*asked, *(each.text for each in self.needs))


def needs(
    ground: Ground,
    policy: Policy | None,
    wanted: Mapping[ResourceKey, Resource],
    observed: Mapping[ResourceKey, Observed],
    attempts: Mapping[ResourceKey, Attempt],
    boot_id: str,
) -> tuple[Need, ...]:
    """Return why this boot has to end: what the machine says, what resources say of themselves (`needsBoot` of their
    status), then what was changed in it that needs the next."""
    found = [Need(f"package:{each}", f"{each} asks for it") for each in ground.packages]
    if ground.required and not found:
        found.append(Need("required", "/run/reboot-required is there"))
    if ground.newest and ground.newest != ground.kernel:
        found.append(Need(f"kernel:{ground.newest}", f"kernel {ground.newest} is installed, {ground.kernel} runs"))
    for key, resource in sorted(wanted.items()):
        said = observed[key].status.get(SAYS) if key in observed else None
        if isinstance(said, str) and said:
            found.append(Need(f"says:{key}@{resource.digest}", f"{key}: {said}"))
        tried = attempts.get(key)
        if tried is None or tried.digest != resource.digest or tried.boot_id != boot_id or tried.outcome not in MADE:
            continue
        if _says_so(resource) or (policy is not None and policy.covers(key)):
            found.append(Need(f"{CHANGED}{key}@{resource.digest}", f"{key} was changed"))
    return tuple(Need(each.cause[:MAX_TEXT], each.text[:MAX_TEXT]) for each in found[:MAX_NEEDS])


def _says_so(resource: Resource) -> bool:
    annotations = resource.body["metadata"].get("annotations")
    return isinstance(annotations, dict) and annotations.get(ANNOTATION) == "true"


def started(kept: Kept, now: Moment) -> Kept:
    """Return what is remembered at a start of the agent. A restart that was begun in this very boot did not come: the
    agent was ended before it could ask; it is due again, counted. A boot that others made forgets the restarts whose cause
    was gone before it: a machine that is switched off every night is never up for long."""
    if kept.boot_id != now.boot_id:
        tries = kept.tries
        if kept.going is None:
            tries = {cause: count for cause, count in tries.items() if cause in kept.since or _is_served_once(cause)}
        return msgspec.structs.replace(kept, boot_id=now.boot_id, up_from=now.boottime, tries=tries, unserved=())
    going = kept.going
    if going is None or going.boot_id != now.boot_id:
        return kept
    again = tuple(
        msgspec.structs.replace(each, served=False) if each.id in going.requests else each for each in kept.requests
    )
    return msgspec.structs.replace(kept, going=None, requests=again, unserved=_unserved(kept))


def _unserved(kept: Kept) -> tuple[str, ...]:
    causes = kept.going.causes if kept.going is not None else ()
    return tuple(sorted({*kept.unserved, *filter(_is_served_once, causes)}))


def followed(kept: Kept, wanted: Sequence[HubRequest], now: Moment) -> Kept:
    """Return it with the hub's requests that are new in its target, without those that left it or are over."""
    asked = {each.id: each for each in wanted}
    going = kept.going.requests if kept.going is not None else ()
    stay = [
        each
        for each in kept.requests
        if each.id in asked or each.id in going or (not each.remote and _stands(each, now))
    ]
    known = {each.id for each in stay}
    new = [received(each, now) for name, each in asked.items() if name not in known]
    requests = (*stay, *new)
    return kept if requests == kept.requests else msgspec.structs.replace(kept, requests=requests)


def received(asked: HubRequest, now: Moment) -> Request:
    """Return a request as it begins here; what is over when it comes is over."""
    rest = min(max(min(asked.until / 1000 - now.wall, asked.seconds), 0.0), float(MAX_SECONDS))
    until = int((now.wall + rest) * 1000)
    return Request(asked.id, asked.reason, asked.by, until, rest, now.boottime, now.boot_id, True, served=rest <= 0)


def _stands(each: Request, now: Moment) -> bool:
    return not each.served and left(each.boot_id, each.made_at, each.seconds, each.until, now) > 0


def standing(kept: Kept, now: Moment) -> tuple[Request, ...]:
    """Return the requests that are to be served."""
    return tuple(each for each in kept.requests if _stands(each, now))


def looked(kept: Kept, found: Sequence[Need], now: Moment) -> Kept:
    """Return it with what a look found: since when, and without restarts whose cause has long been gone."""
    since = {each.cause: kept.since.get(each.cause, int(now.wall * 1000)) for each in found}
    tries = dict(kept.tries)
    if now.boottime - kept.up_from >= FORGETS:
        tries = {cause: count for cause, count in tries.items() if cause in since}
    said = tuple(cause for cause in kept.said if cause in tries)
    if (since, tries, said) == (kept.since, kept.tries, kept.said):
        return kept
    return msgspec.structs.replace(kept, since=since, tries=tries, said=said)


def wish(kept: Kept, policy: Policy | None, found: Sequence[Need], now: Moment) -> Wish:
    """Return what is to be done. A request needs no policy and waits for no uptime: a person says so, and it is served
    once."""
    requests = standing(kept, now)
    served = {cause for cause in kept.tries if _is_served_once(cause) and cause not in kept.unserved}
    open_ = tuple(each for each in found if each.cause not in served)
    if policy is None or policy.when == "never":
        why = "no RebootPolicy here restarts it" if policy is None else f"RebootPolicy {policy.name} says never"
        return Wish(open_, requests, go=bool(requests), waits="" if requests or not open_ else why)
    over = tuple(each for each in open_ if kept.tries.get(each.cause, 0) >= policy.attempts)
    due = tuple(each for each in open_ if each not in over)
    if not requests and not due:
        return Wish(over, (), given_up=over, waits=_given_up(policy) if over else "")
    up = now.boottime - kept.up_from
    if not requests and up < policy.minimum_uptime:
        text = f"it has to be up for {policy.minimum_uptime} s before it restarts again"
        return Wish(open_, (), waits=text, until=kept.up_from + policy.minimum_uptime, given_up=over)
    return Wish(open_, requests, go=True, given_up=over)


def _given_up(policy: Policy) -> str:
    return f"given up after {policy.attempts} restarts that did not help"


def gone(kept: Kept, wished: Wish, now: Moment) -> Kept:
    """Return it with a restart begun, for all that is needed now: counted before its effect."""
    tries = dict(kept.tries)
    for each in wished.needs:
        tries[each.cause] = tries.pop(each.cause, 0) + 1  # the newest last
    served = {each.id for each in wished.requests}
    if served:  # a person's word counts anew
        tries = {
            cause: 1 if cause in {need.cause for need in wished.needs} else count for cause, count in tries.items()
        }
    tries = dict(list(tries.items())[-MAX_TRIES:])
    requests = tuple(
        msgspec.structs.replace(each, served=True) if each.id in served else each for each in kept.requests
    )
    causes = tuple(each.cause for each in wished.needs)
    going = Going(now.boot_id, int(now.wall * 1000), now.boottime, causes, wished.texts, tuple(sorted(served)))
    return msgspec.structs.replace(kept, tries=tries, requests=requests, going=going)


def overdue(kept: Kept, now: Moment) -> bool:
    """Return whether a restart that was asked for did not begin."""
    going = kept.going
    return going is not None and going.boot_id == now.boot_id and now.boottime - going.began >= BEGINS


def failed(kept: Kept, why: str, now: Moment) -> Kept:
    """Return it with the restart under way given up; the next one has the whole time to wait."""
    assert kept.going is not None
    at = int(now.wall * 1000)
    report = RebootReport(kept.going.at, at, kept.going.texts, "failed", why[:MAX_TEXT])
    unserved = _unserved(kept)
    return msgspec.structs.replace(kept, going=None, last=report, up_from=now.boottime, unserved=unserved)


def is_back(kept: Kept, now: Moment) -> bool:
    """Return whether the machine has restarted and nobody has said yet what came of it."""
    return kept.going is not None and kept.going.boot_id != now.boot_id


def returned(kept: Kept, found: Iterable[Need], *, converged: bool, now: Moment) -> Kept | None:
    """Return it with what came of the restart; None while that cannot be said yet."""
    assert kept.going is not None
    up = now.boottime - kept.up_from
    if not converged and up < CONVERGES:
        return None
    still = [each.text for each in found if each.cause in kept.going.causes and not each.is_served_once]
    back = int((now.wall - up) * 1000)
    if still:
        report = RebootReport(kept.going.at, back, kept.going.texts, "still-needed", "; ".join(still)[:MAX_TEXT])
    elif not converged:
        text = f"the target was not reached again within {CONVERGES:g} s"
        report = RebootReport(kept.going.at, back, kept.going.texts, "not-converged", text)
    else:
        report = RebootReport(kept.going.at, back, kept.going.texts, "done")
    return msgspec.structs.replace(kept, going=None, last=report)
