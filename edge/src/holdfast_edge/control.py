"""Control: what the command line asks a running agent, over a Unix socket in the state folder.

One JSON object a line each way. Only root and the agent's own user are heard (SO_PEERCRED), whatever the file's mode.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast_edge.core.steps import Change, Held, Wait, describe
from holdfast_edge.reconcile.site import Site, View
from holdfast_protocol.errors import HoldfastError, MisuseError

NAME: Final = "control.sock"
MAX_LINE: Final = 1024 * 1024
WITHIN: Final = 60.0  # seconds for one request
MAX_NAMED: Final = 1000  # resources in one hold


class Request(msgspec.Struct, forbid_unknown_fields=True):
    do: str  # status, plan, hold, holds, release
    reason: str = ""
    seconds: float = 0.0
    resources: tuple[str, ...] = ()
    id: str = ""


class Control:
    def __init__(self, site: Site, extras: Callable[[], dict[str, Any]], wake: Callable[[], None]) -> None:
        """`extras` returns what status adds (outbox, link); `wake` is called when a hold was made or released."""
        self._site = site
        self._extras = extras
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
                    answer = await self._answer(msgspec.json.decode(line, type=Request), by)
                except HoldfastError as error:
                    answer = _refusal(error.reason, error.message, error.hint)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    answer = _refusal("BadRequest", str(error))
                except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
                    return
                with contextlib.suppress(anyio.BrokenResourceError):  # who asked may have gone
                    await stream.send(msgspec.json.encode(answer) + b"\n")

    async def _answer(self, request: Request, by: str) -> dict[str, Any]:
        site = self._site
        match request.do:
            case "status":
                if site.board.status is None:
                    await site.fresh_view()
                extras = msgspec.to_builtins(self._extras())
                return {"running": True, "status": msgspec.to_builtins(site.board.status), **extras}
            case "plan":
                return {"plan": planned(await site.fresh_view(), site)}
            case "holds":
                return {"holds": msgspec.to_builtins(site.holds.active(site.moment()))}
            case "hold":
                if len(request.resources) > MAX_NAMED:
                    raise MisuseError(f"more than {MAX_NAMED} resources", reason="TooMany")
                hold = await site.holds.make(
                    reason=request.reason,
                    seconds=request.seconds,
                    resources=request.resources,
                    by=by,
                    now=site.moment(),
                )
            case "release":
                hold = await site.holds.release(request.id, by=by, now=site.moment())
            case _:
                raise MisuseError(f"no such request: {request.do[:40]!r}", reason="BadRequest")
        self._wake()
        await site.fresh_view()
        return {"hold": msgspec.to_builtins(hold)}


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
    found = [_row(step.key, describe(step), *_when(step, view, site)) for step in view.plan]
    named = {step.key for step in view.plan}
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


def _row(key: str, step: str, when: str, why: str) -> dict[str, str]:
    return {"key": key, "step": step, "when": when, "why": why}


def _when(step: Change | Wait | Held, view: View, site: Site) -> tuple[str, str]:
    attempt = site.attempts.held.get(step.key)
    failure = f"{attempt.reason}: {attempt.message}" if attempt and attempt.outcome != "done" else ""
    match step:
        case Wait(_, on, _):
            return "waiting", f"on {', '.join(on)}"
        case Held(_, hold, reason, _):
            return "held", f"by {hold}: {reason}"
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
