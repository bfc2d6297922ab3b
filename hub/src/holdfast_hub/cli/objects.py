"""get, describe, delete: the verbs over stored objects."""

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from holdfast_hub.cli import device, exits, holds, output, overrides, sinks
from holdfast_hub.cli.client import Client, segment

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
    "created",
    "at",
    "since",
    "until",
    "issued_at",
    "next",
    "announced",
    "last_at",
)  # milliseconds since 1970
_NAMES: Final = {  # what people write: the API's word
    "blueprints": ("blueprints", "blueprint", "bp"),
    "instances": ("instances", "instance", "inst"),
    "sites": ("sites", "site"),
    "nodes": ("nodes", "node"),
    "devices": ("devices", "device"),
    "sinks": ("sinks", "sink"),
    "holds": ("holds", "hold"),
    "overrides": ("overrides", "override"),
    "objects/Policy": ("policies", "policy"),
    "objects/Overlay": ("overlays", "overlay"),
    "objects/MaintenanceWindow": ("maintenancewindows", "maintenancewindow", "mw"),
    "objects/DriftPolicy": ("driftpolicies", "driftpolicy"),
    "objects/OverrideDecision": ("overridedecisions", "overridedecision"),
    "objects/RebootPolicy": ("rebootpolicies", "rebootpolicy"),
    "objects/RebootRequest": ("rebootrequests", "rebootrequest"),
    "objects/Bridge": ("bridges", "bridge"),
    "objects/Retention": ("retentions", "retention"),
}


def kind_of(word: str) -> str:
    """Return the API's word for a type people may write in singular, plural or short."""
    for kind, words in _NAMES.items():
        if word.lower() in words:
            return kind
    import difflib

    near = difflib.get_close_matches(word.lower(), [name for words in _NAMES.values() for name in words], 1)
    return exits.usage(
        f"no type '{word}'",
        f"did you mean '{near[0]}'?" if near else f"one of {', '.join(words[0] for words in _NAMES.values())}",
    )


def _blueprint(item: dict[str, Any]) -> str:
    kept = f" (pinned, newest {item['newest']})" if item["pinned"] else ""
    return f"{item['blueprint']}@{item['revision']}{kept}"


def singular(kind: str) -> str:
    """Return a type's word for one of it."""
    return _NAMES[kind][1]


def split(words: tuple[str, ...]) -> tuple[str, str]:
    """Return (type, name) of `site/press-01`, `site press-01` or `sites`; the name is "" when none was given."""
    if len(words) == 1 and "/" in words[0]:
        word, name = words[0].split("/", 1)
    elif len(words) == 2:
        word, name = words
    elif len(words) == 1:
        word, name = words[0], ""
    else:
        exits.usage("name one type and at most one name")
    return kind_of(word), name


def columns(kind: str) -> dict[str, Any]:
    """Return the table columns of a type: title to reader."""
    now = time.time()
    if kind == "blueprints":
        return {
            "name": lambda item: item["name"],
            "kind": lambda item: item["kind"],
            "revision": lambda item: item["revision"],
            "instances": lambda item: item["instances"],
            "age": lambda item: output.age(item.get("created"), now),
        }
    if kind == "instances":
        return {
            "name": lambda item: item["name"],
            "kind": lambda item: item["kind"],
            "blueprint": _blueprint,
            "state": lambda item: item["state"],
            "status": lambda item: item.get("phase") or "-",
            "sites": lambda item: f"{item['converged']}/{item['sites']}",
            "age": lambda item: output.age(item.get("created"), now),
        }
    if kind.startswith("objects/"):
        return {
            "name": lambda item: item["name"],
            "sites": lambda item: item["sites"],
            "age": lambda item: output.age(item.get("created"), now),
        }
    if kind == "overrides":
        return overrides.columns(now)
    if kind == "holds":
        return holds.columns(now)
    if kind == "sinks":
        return sinks.columns(now)
    if kind == "devices":
        return device.columns(now)
    if kind == "nodes":
        return {
            "name": lambda item: item["name"],
            "site": lambda item: item["site"],
            "link": lambda item: "online" if item["online"] else "offline",
            "agent": lambda item: item.get("agent", ""),
            "last seen": lambda item: output.age(item.get("last_seen"), now),
        }
    return {
        "name": lambda item: item["name"],
        "state": lambda item: item["state"],
        "link": lambda item: "online" if item["online"] else "offline",
        "gen": lambda item: f"{item['observed_generation']}/{item['generation']}",
        "instances": lambda item: ",".join(item["instances"]) or "-",
        "labels": lambda item: ",".join(f"{key}={value}" for key, value in sorted(item["labels"].items())) or "-",
        "last seen": lambda item: output.age(item.get("last_seen"), now),
    }


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE [NAME]")
@click.option("-l", "--selector", metavar="LABELS", help="Only sites (or their nodes): zone=west,tier in (a,b),!old.")
@click.option(
    "--field-selector", "fields", metavar="FIELDS", help="Only sites (or their nodes): arch=arm64,region!=eu."
)
@click.option("--site", metavar="NAME", help="Only devices of this site.")
@output.formatted()
@click.pass_obj
def get(
    client: Client, words: tuple[str, ...], selector: str | None, fields: str | None, site: str | None, form: str
) -> None:
    """List blueprints, instances, sites, nodes, policies, overlays and the like, or show one of them."""
    kind, name = split(words)
    if site is not None:
        if name or kind != "devices":
            exits.usage("--site is for lists of devices")
        items = client.get("/v1/devices", site=site)["items"]
        output.listing(items, form, singular(kind), columns(kind))
        return
    _print(client, kind, name, {"selector": selector, "fields": fields}, form)


def _print(client: Client, kind: str, name: str, selectors: dict[str, str | None], form: str) -> None:
    if any(selectors.values()) and (name or kind not in ("sites", "nodes")):
        exits.usage("selectors are for lists of sites and nodes")
    if name:
        item = client.get(f"/v1/{kind}/{segment(name)}")
        if form in ("json", "yaml"):
            output.emit(item, form)
            return
        items = [item]
    else:
        items = client.get(f"/v1/{kind}", **selectors)["items"]
    output.listing([_flat(kind, item) for item in items], form, singular(kind), columns(kind))


def _flat(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return a single object as it stands in a list, where lists of details are counted."""
    flat = dict(item)
    if kind == "instances" and isinstance(item.get("site_states"), list):
        flat["sites"] = len(item["site_states"])
    return flat


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE NAME")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def describe(client: Client, words: tuple[str, ...], form: str) -> None:
    """Everything known of one object: conditions with reasons, holds, reports, history."""
    kind, name = split(words)
    if not name:
        exits.usage("name the object to describe", f"holdfast get {singular(kind)}")
    item = client.get(device.path_of(name) if kind == "devices" else f"/v1/{kind}/{segment(name)}")
    if form != "table":
        output.emit(item, form)
        return
    for title, value in item.items():
        if not isinstance(value, list | dict) and title != "source":
            click.echo(f"{title.replace('_', ' ').title() + ':':<22}{_plain(title, value)}")
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
        return output.when(value, time.time())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return output.printable(", ".join(f"{key}={entry}" for key, entry in value.items()))
    if value is None:
        return "-"
    if title == "conditions" and isinstance(value, list):
        return output.printable(", ".join(f"{entry['type']}={entry['status']}" for entry in value))
    if isinstance(value, list) and not any(isinstance(entry, list | dict) for entry in value):
        return output.printable(", ".join(map(str, value)))
    text = output.printable(str(value))
    return text[:12] if title.endswith("digest") and len(text) == 64 else text


def _section(title: str, value: list[Any] | dict[str, Any]) -> None:
    click.echo(f"\n{title.replace('_', ' ').title()}:")
    if isinstance(value, dict):
        for key, entry in sorted(value.items()):
            click.echo(f"  {output.printable(key)}={_plain(key, entry)}")
    elif all(isinstance(entry, Mapping) for entry in value):
        keys = dict.fromkeys(key for entry in value for key in entry)  # what is empty may be left out of an entry
        titles = [key for key in keys if any(entry.get(key) not in (None, "", [], {}) for entry in value)]
        output.table(
            [title.upper() for title in titles],
            [[_plain(key, entry.get(key, "")) for key in titles] for entry in value],
        )
    else:
        for entry in value:
            click.echo(f"  {output.printable(str(entry))}")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE NAME")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def delete(client: Client, words: tuple[str, ...], yes: bool, form: str) -> None:
    """Delete a blueprint, instance, site, policy or the like. Sites remove what an instance made there."""
    kind, name = split(words)
    if not name:
        exits.usage("name the object to delete")
    confirm(f"Delete {singular(kind)}/{name}?", yes)
    _print_deleted(client.delete(f"/v1/{kind}/{segment(name)}"), form)


def _print_deleted(answer: dict[str, Any], form: str) -> None:
    if form in ("json", "yaml"):
        output.emit(answer, form)
    else:
        touched = len(answer.get("sites", []))
        click.echo(
            answer["deleted"]
            + ("" if form == "name" else f" deleted, {touched} site{'s' if touched != 1 else ''} touched")
        )


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; off one refuse unless --yes was given."""
    if yes:
        return
    import sys

    if not sys.stdin.isatty():
        exits.usage("this needs --yes where nobody can be asked")
    click.confirm(question, abort=True, err=True)
