"""get, delete: the verbs over stored objects, and what their types are called."""

import time
from typing import Any, Final

import click

from holdfast_hub.cli import device, exits, holds, output, overrides, overview, sinks, wide
from holdfast_hub.cli.client import Client, segment

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


_APART: Final = ("devices", "holds", "overrides")  # what is not described by files, and may be a great deal
TYPES: Final = ", ".join(words[0] for words in _NAMES.values())


def kind_of(word: str) -> str:
    """Return the API's word for a type people may write in singular, plural or short."""
    for kind, words in _NAMES.items():
        if word.lower() in words:
            return kind
    import difflib

    near = difflib.get_close_matches(word.lower(), [name for words in _NAMES.values() for name in words], 1)
    return exits.usage(f"no type '{word}'", f"did you mean '{near[0]}'?" if near else f"one of {TYPES}")


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
            "changed": lambda item: output.age(item.get("changed"), now),
        }
    if kind == "instances":
        return {
            "name": lambda item: item["name"],
            "kind": lambda item: item["kind"],
            "blueprint": _blueprint,
            "state": lambda item: item["state"],
            "status": lambda item: item.get("phase") or "-",
            "sites": lambda item: f"{item['converged']}/{item['sites']}",
            "changed": lambda item: output.age(item.get("changed"), now),
        }
    if kind.startswith("objects/"):
        return {
            "name": lambda item: item["name"],
            "sites": lambda item: item["sites"],
            "changed": lambda item: output.age(item.get("changed"), now),
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
            "agent": lambda item: item.get("agent") or "-",
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


@click.command(epilog=f"TYPE is one of {TYPES}.")
@click.argument("words", nargs=-1, required=True, metavar="TYPE [NAME]")
@click.option("-l", "--selector", metavar="LABELS", help="Only sites (or their nodes): zone=west,tier in (a,b),!old.")
@click.option(
    "--field-selector", "fields", metavar="FIELDS", help="Only sites (or their nodes): arch=arm64,region!=eu."
)
@click.option("--site", metavar="NAME", help="Only devices of this site.")
@output.formatted("table", "wide", "json", "yaml", "name")
@click.pass_obj
def get(
    client: Client, words: tuple[str, ...], selector: str | None, fields: str | None, site: str | None, form: str
) -> None:
    """List blueprints, instances, sites, nodes, policies, overlays and the like, or show one of them; `get all` lists
    everything but devices, holds and overrides."""
    if words == ("all",):
        if selector or fields or site:
            exits.usage("`get all` is of the whole fleet", "holdfast get sites -l LABELS")
        types = {kind: singular(kind) for kind in _NAMES if kind not in _APART}
        overview.print_all(client, types, lambda kind: _columns(kind, form), _plain(form))
        return
    kind, name = split(words)
    if site is not None:
        if name or kind != "devices":
            exits.usage("--site is for lists of devices")
        items = client.get("/v1/devices", site=site)["items"]
        output.listing(items, _plain(form), singular(kind), _columns(kind, form))
        return
    _print(client, kind, name, {"selector": selector, "fields": fields}, form)


def _print(client: Client, kind: str, name: str, selectors: dict[str, str | None], form: str) -> None:
    if any(selectors.values()) and (name or kind not in ("sites", "nodes")):
        exits.usage("selectors are for lists of sites and nodes")
    if name:
        item = client.get(device.path_of(name) if kind == "devices" else f"/v1/{kind}/{segment(name)}")
        if form in ("json", "yaml"):
            output.emit(item, form)
            return
        items = [item]
    else:
        items = client.get(f"/v1/{kind}", **selectors)["items"]
    output.listing([_flat(kind, item) for item in items], _plain(form), singular(kind), _columns(kind, form))


def _columns(kind: str, form: str) -> dict[str, Any]:
    return {**columns(kind), **(wide.more_columns(kind) if form == "wide" else {})}


def _plain(form: str) -> str:
    return "table" if form == "wide" else form


def _flat(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return a single object as it stands in a list, where lists of details are counted."""
    flat = dict(item)
    if kind == "instances" and isinstance(item.get("site_states"), list):
        flat["sites"] = len(item["site_states"])
    return flat


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE NAME")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; delete nothing.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def delete(client: Client, words: tuple[str, ...], yes: bool, dry_run: bool, form: str) -> None:
    """Delete a blueprint, instance, site, policy or the like. Sites remove what an instance made there."""
    kind, name = split(words)
    if not name:
        exits.usage("name the object to delete")
    confirm(f"Delete {singular(kind)}/{name}?", yes or dry_run)
    path = f"/v1/{kind}/{segment(name)}"
    _print_deleted(client.delete(path, dry_run="true" if dry_run else None), form, " (dry run)" if dry_run else "")


def _print_deleted(answer: dict[str, Any], form: str, how: str) -> None:
    if form in ("json", "yaml"):
        output.emit(answer, form)
    else:
        touched = len(answer.get("sites", []))
        click.echo(
            answer["deleted"]
            + ("" if form == "name" else f" deleted{how}, {touched} site{'s' if touched != 1 else ''} touched")
        )


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; off one refuse unless --yes was given."""
    if yes:
        return
    import sys

    if not sys.stdin.isatty():
        exits.usage("this needs --yes where nobody can be asked")
    click.confirm(question, abort=True, err=True)
