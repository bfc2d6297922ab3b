"""How this node's bridges to other brokers do."""

import argparse
from datetime import UTC, datetime
from typing import Any

from holdfast_edge.cli import output
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import DONE, NEGATIVE, NOT_FOUND, CliError


def add_bridge(add: Any) -> None:
    """Add the command: `add(name, function, text)` makes a parser."""
    text = "Show bridges to other brokers: connected, rates, lag, buffer, drops. Exit code 1 when one is not connected."
    verb = add("bridge", _bridge, text)
    verb.add_argument("name", nargs="?", default="", metavar="NAME", help="only this one")


def _bridge(options: argparse.Namespace) -> int:
    answer = ask(state_folder(options.config), {"do": "bridges"})
    found = [each for each in answer["bridges"] if options.name in ("", each["name"])]
    if options.name and not found:
        raise CliError(f"no bridge {options.name!r}", NOT_FOUND, reason="NotFound", hint="holdfast-edge bridge")
    if options.output == "json":
        output.show_json({**answer, "bridges": found})
    else:
        print(bridges_text(found))
    return DONE if all(each.get("connected") for each in found) else NEGATIVE


def bridges_text(bridges: list[dict[str, Any]]) -> str:
    """Return bridges as a table, a row for each way, and below it what is wrong and what was dropped."""
    if not bridges:
        return "no bridges"
    rows, notes = [], []
    for each in bridges:
        state = "connected" if each.get("connected") else each.get("reason") or "connecting"
        for way, told in sorted(each.get("ways", {}).items(), reverse=True) or [("-", {})]:
            rows.append(
                (
                    each["name"],
                    state,
                    _moment(each.get("since", 0)),
                    way,
                    str(told.get("sent", 0)),
                    f"{told.get('per_s', 0):g}/s",
                    str(told.get("waiting", 0)),
                    f"{told.get('bytes', 0) / 1024:.0f} KiB",
                    f"{told.get('lag', 0)} s",
                )
            )
            for reason, count in sorted(told.get("dropped", {}).items()):
                notes.append(f"{each['name']} {way}: dropped {count} {reason}")
        if each.get("problem"):
            notes.append(f"{each['name']}: {each['problem']}")
    titles = ("BRIDGE", "STATE", "SINCE", "WAY", "SENT", "RATE", "WAITING", "BUFFER", "LAG")
    return "\n".join([output.table(titles, rows), *map(output.harmless, notes)])


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "-"
