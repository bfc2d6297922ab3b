"""doctor: what is wrong with this hub, its broker and this machine, and what to do about it."""

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import CliError

SAFE_SQLITE: Final = (3, 51, 3)  # below, several writers can corrupt a WAL file


class Finding(NamedTuple):
    """One thing looked at. `hint` is what to do when it is not well."""

    subject: str
    well: bool
    message: str
    hint: str = ""
    advice: bool = False  # worth knowing, no fault


@click.command()
@output.formatted("table", "json", "yaml")
@click.pass_obj
def doctor(client: Client, form: str) -> int:
    """Check the hub, its broker and this machine. Exit 0: all well, 1: findings."""
    findings = [*_machine(), *_hub(client)]
    if form != "table":
        output.emit({"findings": [finding._asdict() for finding in findings]}, form)
    else:
        for finding in findings:
            word, colour = ("ok", "green") if finding.well else ("note", "yellow") if finding.advice else ("bad", "red")
            label = click.style(f"{word:<5}", fg=colour)
            click.echo(f"{label} {finding.subject}: {output.printable(finding.message)}", color=output.colourful())
            if finding.hint and not finding.well:
                click.echo(f"      try: {finding.hint}")
    return exits.DONE if all(finding.well or finding.advice for finding in findings) else exits.NEGATIVE


def _machine() -> Iterator[Finding]:
    yield Finding(
        "python", sys.version_info >= (3, 11), ".".join(map(str, sys.version_info[:3])), "install 3.11 or newer"
    )
    yield Finding(
        "sqlite",
        sqlite3.sqlite_version_info >= SAFE_SQLITE,
        f"{sqlite3.sqlite_version}: one process may write a database, and one only",
        "never open hub.db for writing beside the hub; `holdfast db` is for copies",
        advice=True,
    )
    broker = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    yield Finding("mosquitto", broker is not None, broker or "not installed", "apt install mosquitto", advice=True)


def _hub(client: Client) -> Iterator[Finding]:
    try:
        health = client.get("/v1/health")
        sites = client.get("/v1/sites")["items"]
    except CliError as error:
        yield Finding("hub", False, error.message, error.hint)
        return
    yield Finding(
        "hub", True, f"{health['version']}, fleet {health['fleet']}, {health['online']}/{health['sites']} sites online"
    )
    broker = health["broker"]
    yield Finding(
        "broker",
        broker["connected"],
        f"{broker['url']} connected" if broker["connected"] else f"not connected: {broker['message'] or broker['url']}",
        "is it running, and does the hub's log say why it was refused?",
    )
    waiting = health["unpublished"]
    yield Finding("targets", waiting == 0, f"{waiting} waiting to be published", "they go out when the broker is back")
    problems = health["problems"]
    hint = "messages of strangers and of nodes that were replaced count here; what names a disk or a limit needs you"
    yield Finding("what it could not do", not problems, "; ".join(problems[:5]) or "none", hint, advice=True)
    troubles: dict[str, tuple[Callable[[dict[str, Any]], bool], str]] = {
        "conflicts": (
            lambda site: site["state"] == "Conflict",
            "holdfast site adopt SITE..., if this hub's target is right",
        ),
        "failed sites": (lambda site: site["state"] in ("Failed", "Degraded"), "holdfast describe site NAME"),
    }
    for subject, (is_bad, hint) in troubles.items():
        bad = [site["name"] for site in sites if is_bad(site)]
        yield Finding(subject, not bad, output.some(bad, 10) or "none", hint)
