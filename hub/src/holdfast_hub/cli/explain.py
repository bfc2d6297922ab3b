"""explain: why something is as it is."""

from typing import Any

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client


@click.group()
def explain() -> None:
    """Say why something is as it is."""


@explain.command()
@click.argument("instance")
@click.argument("site")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def placement(client: Client, instance: str, site: str, form: str) -> int:
    """Print each requirement of an instance's placement and whether it holds at a site. Exit 0: it belongs there, 1: not."""
    answer = client.get("/v1/explain/placement", instance=instance, site=site)
    _print_placement(answer, form)
    return exits.DONE if answer["placed"] else exits.NEGATIVE


def _print_placement(answer: dict[str, Any], form: str) -> None:
    if form != "table":
        output.emit(answer, form)
        return
    if answer["requirements"]:
        output.table(
            ["HOLDS", "OF", "REQUIREMENT", "THE SITE HAS"],
            [
                ["yes" if each["holds"] else "no", each["space"], each["requirement"], ", ".join(each["found"]) or "-"]
                for each in answer["requirements"]
            ],
        )
    belongs = "belongs" if answer["placed"] else "does not belong"
    more = f": {answer['message']}" if answer["message"] else ""
    output.say(output.printable(f"{answer['instance']} {belongs} on {answer['site']}{more}"))
