"""describe: everything known of one object, for people: facts, then sections as tables that fit a terminal."""

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from holdfast_hub.cli import device, exits, objects, output
from holdfast_hub.cli.client import Client, segment

_WIDTH: Final = 100  # columns
_FREE: Final = 60  # columns before a last one that may run on
# What goes under its row, in this order.
_UNDER: Final = ("boot_id", "observed_digest", "hint", "next", "message", "detail")
_MOMENTS: Final = (
    "last_seen",
    "first_seen",
    "sent_at",
    "reported_at",
    "delivered",
    "deadline",
    "sent",
    "ended",
    "time",
    "changed",
    "at",
    "since",
    "until",
    "issued_at",
    "next",
    "announced",
    "last_at",
)  # milliseconds since 1970


@click.command(epilog=f"TYPE is one of {objects.TYPES}.")
@click.argument("words", nargs=-1, required=True, metavar="TYPE NAME")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def describe(client: Client, words: tuple[str, ...], form: str) -> None:
    """Everything known of one object: conditions with reasons, holds, reports, history."""
    kind, name = objects.split(words)
    if not name:
        exits.usage("name the object to describe", f"holdfast get {objects.singular(kind)}")
    item = client.get(device.path_of(name) if kind == "devices" else f"/v1/{kind}/{segment(name)}")
    if form != "table":
        output.emit(item, form)
        return
    if kind == "sinks":
        item["readings_sent"] = item.pop("sent")  # a count; of a command it is a moment
    for title, value in item.items():
        if not isinstance(value, list | dict) and title != "source":
            click.echo(f"{title.replace('_', ' ').title() + ':':<22}{_plain(title, value) or '-'}")
    for title, value in item.items():
        if value and isinstance(value, list | dict) and title not in ("values", "placement", "content"):
            _section(title, _short(item, value))
    for title in ("placement", "values"):
        if item.get(title):
            click.echo(f"\n{title.title()}:")
            output.emit(item[title], "yaml")


def _short(item: Mapping[str, Any], value: Any) -> Any:
    """Return a section without the facts of its entries where they stand in a section of their own."""
    if "facts" not in item or not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        return value
    return [{key: said for key, said in entry.items() if key != "facts"} for entry in value]


def _plain(title: str, value: Any) -> str:
    if title in _MOMENTS and isinstance(value, int):
        return output.when(value, time.time()) if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        parts = [f"{key}={_plain(key, entry)}" for key, entry in value.items()]
        return ("; " if any(isinstance(entry, list) for entry in value.values()) else ", ").join(parts)
    if value is None:
        return "-"
    if title == "conditions" and isinstance(value, list):
        return output.printable(", ".join(f"{entry['type']}={entry['status']}" for entry in value))
    if isinstance(value, list):
        return ", ".join(_plain("", entry) for entry in value)
    text = output.printable(str(value))
    return text[:12] if title.endswith("digest") and len(text) == 64 else text


def _section(title: str, value: list[Any] | dict[str, Any]) -> None:
    click.echo(f"\n{title.replace('_', ' ').title()}:")
    if isinstance(value, dict):
        tables = {key: entry for key, entry in value.items() if _is_table(entry)}
        for key, entry in sorted(value.items()):
            if key not in tables:
                click.echo(f"  {output.printable(key)}={_plain(key, entry)}")
        for entry in tables.values():
            _entries(entry)
    elif _is_table(value):
        _entries(value)
    else:
        for entry in value:
            click.echo(f"  {output.printable(str(entry))}")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _entries(value: list[Mapping[str, Any]]) -> None:
    """Print a table; where it would be too wide, what is long stands under its row."""
    keys = dict.fromkeys(key for entry in value for key in entry)  # what is empty may be left out of an entry
    titles = [key for key in keys if any(entry.get(key) not in (None, "", [], {}) for entry in value)]
    titles.sort(key=lambda key: key in _UNDER[2:])  # stable: texts come last
    texts = [{key: _plain(key, entry.get(key, "")) for key in titles} for entry in value]
    widths = {key: max(len(key), *(len(text[key]) for text in texts)) + 2 for key in titles}
    under = []
    for key in _UNDER:
        total = sum(widths.values())
        if total <= _WIDTH + 2 or (key in ("message", "detail") and total - widths.get(key, 0) <= _FREE):
            break
        if widths.pop(key, 0):
            under.append(key)
    output.table(
        [key.replace("_", " ").upper() for key in widths],
        [[text[key] for key in widths] for text in texts],
        [[f"{key.replace('_', ' ')}: {text[key]}" for key in under if text[key]] for text in texts],
    )
