"""Output: answers as tables for people, or as the JSON the agent gave, for programs."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from holdfast_edge.cli.exits import CliError


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_error(error: CliError, form: str) -> None:
    if form == "json":
        body = {"reason": error.reason, "message": error.message, "hint": error.hint}
        print(json.dumps({"error": body}, ensure_ascii=False), file=sys.stderr)
    else:
        hint = f"\ntry: {error.hint}" if error.hint else ""
        print(f"error: {error.message}{hint}", file=sys.stderr)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns as wide as they need to be; the last one runs free."""
    every = [list(head), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in every) for n in range(len(head) - 1)]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in every
    )
    return "\n".join(line.rstrip() for line in lines)


def harmless(text: str) -> str:
    """Return lines as they may be printed."""
    return "\n".join(_plain(line) for line in text.splitlines())


def readings_text(rows: Sequence[dict[str, Any]], of: str = "") -> str:
    """Return the newest readings; `of` is what was asked for, "" for all."""
    if not rows:
        return f"no readings{of and f' of {_plain(of)}'} since the agent was started"
    cells = [
        (
            row["device"],
            row["metric"],
            _moment(row["time"]),
            row["quality"],
            f"{_value(row['value'])} {row['unit']}".strip(),
        )
        for row in rows
    ]
    return table(("DEVICE", "METRIC", "TIME", "QUALITY", "VALUE"), cells)


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def journal_text(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "nothing done yet"
    cells = [(_moment(row["began"]), row["action"], row["key"], row["outcome"] or "…", row["message"]) for row in rows]
    return table(("WHEN", "ACTION", "RESOURCE", "OUTCOME", "MESSAGE"), cells)


def _moment(at: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at / 1000))
    except (OverflowError, ValueError, OSError):  # a device's clock says anything
        return str(at)


def _plain(text: str) -> str:
    """What comes from a target or a provider must not move the cursor."""
    return "".join(each if each.isprintable() else " " for each in text)


def status_text(answer: dict[str, Any]) -> str:
    status = answer["status"]
    lines = [f"{status['site']}/{status['node']} of {status['fleet']}: {status['state']}"]
    if status.get("generation"):
        stable = "stable" if status.get("last_good") == status["digest"] else "not yet stable"
        seen = "as wanted" if status.get("observed_digest") == status["digest"] else "not as wanted"
        position = f"epoch {status['epoch']} generation {status['generation']}"
        lines.append(f"target {position}, {status['digest'][:12]}: {seen}, {stable}")
    lines += _progress_lines(status.get("progress") or {})
    if link := answer.get("link"):
        why = f" ({link['reason']}: {link['message']})" if link["reason"] and link["doing"] != "settled" else ""
        lines.append(_plain(f"link {link['doing']}{why}"))
    if outbox := answer.get("outbox"):
        waiting = ", ".join(f"{name} {depth['rows']} rows" for name, depth in outbox.items() if depth["rows"])
        lines.append(f"outbox {waiting or 'empty'}")
    if answer.get("profile"):
        lines.append(f"profile {answer['profile']}")
    lines += [f"problem: {_plain(problem)}" for problem in status.get("problems", ())]
    lines += [_gate(gate) for gate in status.get("gates", ())]
    lines += reboot_lines(status.get("reboot"))
    lines += [f"hold {_hold(hold)}" for hold in status.get("holds", ())]
    rows = [
        (each["key"], (condition := each["condition"])["type"], condition["reason"], condition.get("message", ""))
        for each in status.get("resources", ())
    ]
    if rows:
        lines += ["", table(("RESOURCE", "CONDITION", "REASON", "MESSAGE"), rows)]
    return "\n".join(lines)


def reboot_lines(said: dict[str, Any] | None) -> list[str]:
    """Return whether the machine needs a restart, when it gets one, and what came of the last."""
    if said is None:
        return []
    lines = []
    if needed := said.get("needed"):
        since = f" since {_moment(said['since'])}" if said.get("since") else ""
        lines.append(f"restart needed{since}: {_plain('; '.join(needed))}")
        chance = f"; next chance {_moment(said['next'])}" if said.get("next") else ""
        if said.get("announced"):
            lines.append(f"  announced for {_moment(said['announced'])}")
        elif said.get("waits"):
            lines.append(f"  waits: {_plain(said['waits'])}{chance}")
    if last := said.get("last"):
        more = f": {_plain(last['message'])}" if last.get("message") else ""
        took = max(last["back_at"] - last["at"], 0) // 1000
        lines.append(f"last restart {_moment(last['at'])}, back after {took} s: {last['outcome']}{more}")
    return lines


def _progress_lines(progress: dict[str, Any]) -> list[str]:
    """Return how far the newest target is: where the machine is kept, why, and what comes next."""
    if not progress:
        return []
    good = progress.get("last_good")
    lines = [
        f"progress {progress['phase']}: kept at generation {progress.get('held', 0)},"
        f" last good is {f'generation {good}' if good else 'none'}"
    ]
    for title, cause in (("because", progress.get("cause")), ("going back", progress.get("second"))):
        if cause:
            words = (f"{cause['phase']} {cause.get('resource', '')}".strip(), cause.get("reason"), cause.get("message"))
            hint = f" (try: {cause['hint']})" if cause.get("hint") else ""
            lines.append(_plain(f"{title} {': '.join(filter(None, words))}{hint}"))
    if bad := progress.get("bad"):
        lines.append(f"not tried again: {', '.join(digest[:12] for digest in bad)}")
    if progress.get("next"):
        lines.append(_plain(f"next: {progress['next']}"))
    return lines


def _gate(gate: dict[str, Any]) -> str:
    return _plain(
        f"{gate['gate']} {'open' if gate['open'] else 'shut'} ({', '.join(gate['windows'])}): {gate['message']}"
    )


def plan_text(rows: Sequence[dict[str, str]]) -> str:
    if not rows:
        return "nothing to do: everything is as wanted"
    return table(("WHEN", "STEP", "WHY"), [(row["when"], row["step"], row["why"]) for row in rows])


def holds_text(holds: Sequence[dict[str, Any]]) -> str:
    return "\n".join(_hold(hold) for hold in holds) or "no holds"


def _hold(hold: dict[str, Any]) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(hold["until"] / 1000))
    what = ", ".join(hold.get("resources", ())) or "everything"
    return _plain(f"{hold['id']} until {until} on {what}: {hold['reason']} ({hold['by']})")
