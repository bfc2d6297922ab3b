"""Control: what the command line asks a running agent, over a Unix socket in the state folder.

One JSON object a line each way. Only root and the agent's own user are heard (SO_PEERCRED), whatever the file's mode.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast_edge.core.steps import Gated, Held, Restart, Step, Wait, describe
from holdfast_edge.insight import Insight
from holdfast_edge.reconcile.site import Site, View
from holdfast_edge.reconcile.transaction import described
from holdfast_protocol.errors import HoldfastError, MisuseError
from holdfast_protocol.wire.messages import Override
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.reboots import KEY

NAME: Final = "control.sock"
MAX_LINE: Final = 1024 * 1024
WITHIN: Final = 60.0  # seconds for one request
MAX_NAMED: Final = 1000  # resources in one hold


class Request(msgspec.Struct, forbid_unknown_fields=True):
    do: str  # overview, status, plan, readings, journal, logs, retry, hold, holds, release, overrides,
    # override, drop-override, reboot, withdraw-reboot
    reason: str = ""
    seconds: float = 0.0
    resources: tuple[str, ...] = ()
    id: str = ""
    device: str = ""
    metric: str = ""
    patch: dict[str, Any] = {}
    limit: int = 0  # rows or lines; 0: as many as is usual


class Control:
    def __init__(
        self, site: Site, extras: Callable[[], dict[str, Any]], wake: Callable[[], None], insight: Insight
    ) -> None:
        """`extras` returns what status adds (outbox, link, budgets); `wake` is called when a hold was made or released."""
        self._site = site
        self._extras = extras
        self._insight = insight
        self._wake = wake

    async def run(self, folder: Path) -> None:
        """Answer, for ever."""
        path = folder / NAME
        await anyio.Path(path).unlink(missing_ok=True)
        async with await anyio.create_unix_listener(path, mode=0o600) as listener:
            await listener.serve(self._serve)

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(WITHIN):
                try:
                    # Read before refusing: a socket closed with unread bytes takes the answer with it.
                    line = await BufferedByteReceiveStream(stream).receive_until(b"\n", MAX_LINE)
                    by = _peer(stream)
                    answer = await self.answer(msgspec.json.decode(line, type=Request), by)
                except HoldfastError as error:
                    answer = _refusal(error.reason, error.message, error.hint)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    answer = _refusal("BadRequest", str(error))
                except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
                    return
                with contextlib.suppress(anyio.BrokenResourceError):  # who asked may have gone
                    await stream.send(msgspec.json.encode(answer) + b"\n")

    async def answer(self, request: Request, by: str) -> dict[str, Any]:
        """Return what was asked; raises HoldfastError. `by` is who asks, for the audit."""
        site = self._site
        match request.do:
            case "status":
                return await self._status()
            case "overview":
                status = await self._status()
                assert site.view is not None
                readings, lines = self._insight.readings("", "", 0), await self._insight.journal(0)
                seen = {"readings": msgspec.to_builtins(readings), "journal": msgspec.to_builtins(lines)}
                return {**status, "plan": planned(site.view, site), **seen}
            case "readings":
                found = self._insight.readings(request.device, request.metric, request.limit)
                return {"readings": msgspec.to_builtins(found)}
            case "journal":
                return {"journal": msgspec.to_builtins(await self._insight.journal(request.limit))}
            case "logs":
                key = ResourceKey(request.id)
                return {"resource": key, "logs": await self._insight.logs(key, request.limit)}
            case "outbox":
                extras = msgspec.to_builtins(self._extras())
                return {"running": True, **extras["standing"], "link": extras["link"]}
            case "ingest":
                return {"running": True, "sources": msgspec.to_builtins(self._extras()["sources"])}
            case "bridges":
                return {"running": True, "bridges": msgspec.to_builtins(self._extras()["bridges"])}
            case "plan":
                return {"plan": planned(await site.fresh_view(), site)}
            case "retry":
                if site.newest() is None:
                    raise MisuseError("there is no target to try", reason="NoTarget")
                await site.notices.add("Audit", at=int(site.clock.wall() * 1000), body={"what": "Retry", "by": by})
                site.retry()
                self._wake()
                await site.fresh_view()
                return {"retry": True, "status": msgspec.to_builtins(site.board.status)}
            case "holds":
                return {"holds": msgspec.to_builtins(site.holds.active(site.moment()))}
            case "hold":
                if len(request.resources) > MAX_NAMED:
                    raise MisuseError(f"more than {MAX_NAMED} resources", reason="TooMany")
                if odd := next((key for key in request.resources if not all(key.partition("/"))), None):
                    hint = "holdfast-edge status names what there is"
                    raise MisuseError(f"{odd[:80]!r} is not KIND/NAME", reason="BadKey", hint=hint)
                hold = await site.holds.make(
                    reason=request.reason,
                    seconds=request.seconds,
                    resources=request.resources,
                    by=by,
                    now=site.moment(),
                )
            case "release":
                hold = await site.holds.release(request.id, by=by, now=site.moment())
            case "overrides":
                return {"overrides": msgspec.to_builtins(site.overrides.active)}
            case "reboot" | "withdraw-reboot":
                answer = await self._reboot(request, by)
                self._wake()
                await site.fresh_view()
                return {**answer, "status": msgspec.to_builtins(site.board.status)}
            case "override" | "drop-override":
                made = await self._override(request, by)
                self._wake()
                await site.fresh_view()
                return {"override": msgspec.to_builtins(made)}
            case _:
                raise MisuseError(f"no such request: {request.do[:40]!r}", reason="BadRequest")
        self._wake()
        goal = (await site.fresh_view()).goal
        known = goal.wanted if goal is not None else {}
        not_there = [key for key in hold.resources if key not in known] if request.do == "hold" else []
        return {"hold": msgspec.to_builtins(hold), "not_there": not_there}

    async def _reboot(self, request: Request, by: str) -> dict[str, Any]:
        rebooter, now = self._site.rebooter, self._site.moment()
        if rebooter is None or self._site.targets.current is None:
            raise MisuseError("there is no target yet that would come back after it", reason="NoTarget")
        if request.do == "withdraw-reboot":
            return {"withdrawn": await rebooter.withdraw(by=by, now=now)}
        made = await rebooter.ask(reason=request.reason, seconds=request.seconds, by=by, now=now)
        return {"request": msgspec.to_builtins(made)}

    async def _override(self, request: Request, by: str) -> Override:
        site, now = self._site, self._site.moment()
        if request.do == "drop-override":
            return await site.overrides.drop(request.id, by=by, now=now)
        return await site.overrides.make(
            site.wanted_alone(),
            resource=request.id,
            patch=request.patch,
            reason=request.reason,
            seconds=request.seconds,
            by=by,
            now=now,
        )

    async def _status(self) -> dict[str, Any]:
        site = self._site
        if site.board.status is None or site.view is None:
            await site.fresh_view()
        return {
            "running": True,
            "at": int(site.clock.wall() * 1000),
            "status": msgspec.to_builtins(site.board.status),
            **msgspec.to_builtins(self._extras()),
        }


def _refusal(reason: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"error": {"reason": reason, "message": message, "hint": hint}}


def _peer(stream: anyio.abc.SocketStream) -> str:
    """Return who asks, for the audit; raises MisuseError for anybody but root and ourselves."""
    raw: socket.socket = stream.extra_attributes[anyio.abc.SocketAttribute.raw_socket]()
    credentials = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.geteuid()):
        raise MisuseError(f"user {uid} may not control this agent", reason="Forbidden", hint="ask as root")
    return f"uid {uid}"


def planned(view: View, site: Site) -> list[dict[str, str]]:
    """Return each step with when it is done (now, running, later, never, waiting, held) and why not now."""
    steps = (*view.plan, *site.kept_back)
    found = [_row(step.key, _said(step), *_when(step, view, site)) for step in steps]
    named = {step.key for step in steps}
    found += _way(view, site)
    found += _restart(view, site)
    found += [
        _row(key, f"{key} cannot be looked at", "later", condition.message)
        for key, condition in sorted(view.blind.items())
        if key not in named
    ]
    found += [
        _row(key, f"{key} is not done here", "never", attempt.message)
        for key, attempt in sorted(site.attempts.held.items())
        if attempt.outcome == "unsupported" and view.goal and key in view.goal.wanted and key not in named
    ]
    return found


def _said(step: Step) -> str:
    """Return the step without what keeps it: that is said beside it."""
    match step:
        case Wait(key, _, removing):
            return f"{key} {'is removed later' if removing else 'waits'}"
        case Held(key):
            return f"{key} is held"
        case Gated(key):
            return f"{key} waits"
        case _:
            return describe(step)


def _way(view: View, site: Site) -> list[dict[str, str]]:
    """Return the row of a newest target that the machine is not brought to now: it waits, or is not tried again."""
    if view.newest is None or view.newest is view.goal:
        return []
    said, _ = described(site)
    assert said is not None
    generation = f"generation {view.newest.target.generation}"
    why = f"{said.cause.phase} {said.cause.resource}: {said.cause.reason}: {said.cause.message}" if said.cause else ""
    when = "waiting" if said.phase == "preparing" else "never"
    return [_row(generation, f"apply {generation} ({said.phase})", when, "; ".join(filter(None, (why, said.next))))]


def _restart(view: View, site: Site) -> list[dict[str, str]]:
    """Return the row of a restart that is needed or asked for, whether or not one will be made."""
    said = site.rebooter.status(site.moment()) if site.rebooter is not None else None
    if said is None or not said.needed:
        return []
    since = f", needed since {_moment(said.since // 1000)}" if said.since else ""
    step = f"restart the machine{since}: {'; '.join(said.needed)}"
    if isinstance(view.restart, Restart):
        return [_row(KEY, step, "now", f"announced for {_moment(said.announced // 1000)}" if said.announced else "")]
    chance = f"; next chance {_moment(said.next // 1000)}" if said.next else ""
    return [_row(KEY, step, "held" if isinstance(view.restart, Held) else "waiting", f"{said.waits}{chance}")]


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _row(key: str, step: str, when: str, why: str) -> dict[str, str]:
    return {"key": key, "step": step, "when": when, "why": why}


def _when(step: Step, view: View, site: Site) -> tuple[str, str]:
    attempt = site.attempts.held.get(step.key)
    failure = f"{attempt.reason}: {attempt.message}" if attempt and attempt.outcome != "done" else ""
    match step:
        case Wait(_, on, _):
            return "waiting", f"on {', '.join(on)}"
        case Held(_, hold, reason, _):
            return "held", f"by {hold}: {reason}"
        case Gated(_, gate, _, message, until, _):
            next_chance = f"; next chance {_moment(until)}" if until is not None else ""
            return "waiting", f"{gate}: {message}{next_chance}"
        case Restart():
            return "now", ""
        case _ if step.key in site.executor.running:
            return "running", ""
        case _ if step.key not in view.due.later:
            return "now", ""
        case _:
            at = view.due.later[step.key]
            if at is None:
                return "never", f"at this digest, after {failure}"
            rest = max(at - site.clock.boottime(), 0.0)
            return "later", f"back-off for {rest:.0f} s more{', after ' + failure if failure else ''}"
