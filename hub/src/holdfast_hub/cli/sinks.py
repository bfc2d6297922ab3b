"""sink: what a person asks of one sink; and sinks in a table."""

from typing import Any

import click

from holdfast_hub.cli import output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.readings import moment


def columns(now: float) -> dict[str, Any]:
    """Return the table columns of sinks."""
    return {
        "name": lambda item: item["name"],
        "to": lambda item: item["to"],
        "state": lambda item: item["state"],
        "sent": lambda item: item["sent"],
        "lag": lambda item: item["lag"],
        "replaying": lambda item: item["replaying"] or "-",
        "missed": lambda item: item["missed"],
        "refused": lambda item: item["refused"],
        "last": lambda item: output.age(item["sent_at"], now),
        "message": lambda item: item["message"] or item["refusal"] or "-",
    }


@click.group()
def sink() -> None:
    """Have a sink given again what is stored."""


@sink.command()
@click.argument("name")
@click.option(
    "--from", "since", metavar="TIME", help="Readings of this time and later: RFC 3339, or an age such as 2h."
)
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def replay(client: Client, name: str, since: str | None, form: str) -> None:
    """Give sink NAME again what is stored of its sites, beside what comes: all of it, or from a time on."""
    answer: dict[str, Any] = client.post(f"/v1/sinks/{segment(name)}/replay", {"from": moment(since)})
    if form in ("json", "yaml"):
        output.emit(answer, form)
    else:
        click.echo(f"sink/{name}" + ("" if form == "name" else f": {answer['replaying']} sequences to look at"))
