"""override adopt, override drop: what becomes of a change that a person at a site made."""

import json
import time
from typing import Any

import click

from holdfast_hub.cli import output
from holdfast_hub.cli.client import Client


def columns(now: float) -> dict[str, Any]:
    """Return the table columns of overrides."""
    return {
        "id": lambda item: item["id"],
        "site": lambda item: item["site"],
        "resource": lambda item: item["resource"],
        "patch": lambda item: json.dumps(item["patch"], ensure_ascii=False)[:80],
        "ends": lambda item: output.when(item["until"], now) if item["until"] else "never",
        "by": lambda item: f"{item['by']} at {item['node']}",
        "reason": lambda item: item["reason"],
        "state": lambda item: item["decided"] or item["problem"] or "in effect",
    }


@click.group()
def override() -> None:
    """Adopt or drop what people at sites laid over their targets (holdfast get overrides)."""


@override.command()
@click.argument("names", nargs=-1, required=True, metavar="ID...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def adopt(client: Client, names: tuple[str, ...], form: str) -> None:
    """Make it what the hub wants of that site, by an Overlay."""
    _decide(client, names, "adopted", form)


@override.command()
@click.argument("names", nargs=-1, required=True, metavar="ID...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def drop(client: Client, names: tuple[str, ...], form: str) -> None:
    """Have the site go back to what its target says."""
    _decide(client, names, "dropped", form)


def _decide(client: Client, names: tuple[str, ...], verdict: str, form: str) -> None:
    answer = client.post("/v1/overrides/decide", {"names": list(names), "verdict": verdict})
    named = [{**item, "name": item["id"]} for item in answer["items"]]
    output.listing(named if form == "name" else answer["items"], form, "override", columns(time.time()))
