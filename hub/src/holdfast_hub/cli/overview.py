"""`get all`: every type that has something, one after the other, each thing by TYPE/NAME."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from holdfast_hub.cli import output
from holdfast_hub.cli.client import Client

Columns = Callable[[str], Mapping[str, Any]]


def print_all(client: Client, types: Mapping[str, str], columns: Columns, form: str) -> None:
    """Print what files describe, and the sites with their nodes; `types` gives the API's words their singular."""
    found = {kind: items for kind in types if (items := _items(client, kind))}
    if form in ("json", "yaml"):
        output.emit({"items": [{"type": types[kind], **item} for kind in found for item in found[kind]]}, form)
        return
    if not found:
        output.say("nothing there")
    for number, (kind, items) in enumerate(found.items()):
        if number and form != "name":
            click.echo()
        named = items if form == "name" else [{**item, "name": f"{types[kind]}/{item['name']}"} for item in items]
        output.listing(named, form, types[kind], columns(kind))


def _items(client: Client, kind: str) -> Sequence[Mapping[str, Any]]:
    items: Sequence[Mapping[str, Any]] = client.get(f"/v1/{kind}")["items"]
    return items
