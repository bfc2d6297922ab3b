"""bridge: how messages go to and come from other brokers, and what of rules they would not take."""

import time
from pathlib import Path
from typing import Any

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError


@click.group()
def bridge() -> None:
    """Look at bridges to other brokers."""


@bridge.command("status")
@click.argument("name", required=False, default="", metavar="[SITE/NAME]")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def status(client: Client, name: str, form: str) -> int:
    """Show every bridge, or one (hub/NAME is the hub's own): connected, rates, lag, buffer, drops by reason, last error.

    Exit code 1 when one is not connected.
    """
    items = client.get(f"/v1/bridges/{segment(name)}" if name else "/v1/bridges")["items"]
    if form == "table":
        now = time.time()
        rows = [row for item in items for row in rows_of(item, now)]
        titles = ["BRIDGE", "STATE", "SINCE", "WAY", "SENT", "RATE", "WAITING", "BUFFER", "LAG", "DROPPED", "PROBLEM"]
        output.table(titles, rows) if rows else click.echo("no bridges")
    else:
        output.emit({"items": items}, form)
    return exits.DONE if all(item["connected"] for item in items) else exits.NEGATIVE


def rows_of(item: dict[str, Any], now: float) -> list[list[str]]:
    """Return the rows of one bridge: one for each way it has."""
    name = f"{item['site']}/{item['name']}"
    state = "connected" if item["connected"] else item["reason"] or "connecting"
    if not item["online"]:
        state += f" {output.age(item['at'], now)} ago"  # nobody knows better: its node is not there
    since = output.age(item["since"] or None, now)
    rows = []
    for number, (way, each) in enumerate(sorted(item["ways"].items(), reverse=True) or [("-", {})]):
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(each.get("dropped", {}).items()))
        rows.append(
            [
                name if not number else "",
                state if not number else "",
                since if not number else "",
                way,
                str(each.get("sent", 0)),
                f"{each.get('per_s', 0):g}/s",
                str(each.get("waiting", 0)),
                f"{each.get('bytes', 0) / 1024:.0f} KiB",
                f"{each.get('lag', 0)} s",
                dropped or "-",
                output.printable(item["problem"]) if not number and item["problem"] else "-",
            ]
        )
    return rows


@bridge.command("lint")
@click.argument("file", metavar="FILE")
@output.formatted("table", "json", "yaml")
def lint(file: str, form: str) -> int:
    """Check the Bridges in FILE: rules, loops, and what the broker named in `spec.broker` would not take.

    Needs no hub. Exit code 1 when something is wrong; warnings alone are 0.
    """
    import msgspec

    from holdfast_protocol.errors import InputError
    from holdfast_protocol.kinds.bridge_lint import linted

    try:
        found = linted(Path(file).read_text(encoding="utf-8"), file)
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", exits.USAGE, reason="CannotRead") from None
    except UnicodeDecodeError as error:
        raise CliError(str(error), exits.USAGE, reason="CannotRead") from None
    except InputError as error:
        plain = tuple(msgspec.to_builtins(problem) for problem in error.problems)
        raise CliError("the file cannot be read", exits.USAGE, reason="InvalidInput", problems=plain) from None
    if form == "table":
        for each in found:
            hint = f" (try: {each.hint})" if each.hint else ""
            click.echo(output.printable(f"{each.severity}: {each}{hint}"))
        click.echo(f"{len(found)} problem{'s' if len(found) > 1 else ''}" if found else "nothing against it")
    else:
        output.emit({"problems": msgspec.to_builtins(found)}, form)
    return exits.NEGATIVE if any(each.severity == "error" for each in found) else exits.DONE
