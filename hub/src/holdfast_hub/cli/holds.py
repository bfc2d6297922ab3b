"""hold, release: a person's "leave it alone" from the hub."""

import time
from typing import Any

import click

from holdfast_hub.cli import output
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.spans import duration


def columns(now: float) -> dict[str, Any]:
    """Return the table columns of holds."""
    return {
        "id": lambda item: item["id"],
        "site": lambda item: item["site"],
        "ends": lambda item: output.when(item["until"], now),
        "what": lambda item: ", ".join(item["resources"]) or "everything",
        "reason": lambda item: item["reason"],
        "by": lambda item: item["by"] if item["origin"] == "hub" else f"{item['by']} at {item['node']}",
    }


@click.command()
@click.argument("sites", nargs=-1, required=True, metavar="SITE...")
@click.option("--resource", "resources", multiple=True, metavar="KIND/NAME", help="Only this; may be given again.")
@click.option("--for", "lasts", default="1h", show_default=True, metavar="TIME", help="How long: 90s, 30m, 2h, 2d.")
@click.option("--reason", required=True, help="Why; others will read it.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def hold(
    client: Client, sites: tuple[str, ...], resources: tuple[str, ...], lasts: str, reason: str, form: str
) -> None:
    """Have sites leave everything, or the resources named, alone for a while. It ends by itself, also without the hub."""
    body = {"sites": list(sites), "resources": list(resources), "seconds": duration(lasts), "reason": reason}
    _print(client.post("/v1/holds", body), form)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="ID|SITE...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def release(client: Client, names: tuple[str, ...], form: str) -> None:
    """End holds made at the hub before their time: by id, or all of a site."""
    _print(client.post("/v1/holds/release", {"names": list(names)}), form)


def _print(answer: dict[str, Any], form: str) -> None:
    named = [{**item, "name": item["id"]} for item in answer["items"]]
    output.listing(named if form == "name" else answer["items"], form, "hold", columns(time.time()))
