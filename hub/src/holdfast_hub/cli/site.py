"""site: the places of the fleet."""

import time
from collections.abc import Sequence
from typing import Any

import click

from holdfast_hub.cli import describe, exits, objects, output
from holdfast_hub.cli.blueprint import empty, write_all
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError
from holdfast_hub.cli.kits import kit_options, kit_words, ready, write_kit
from holdfast_hub.cli.spans import duration


@click.group()
def site() -> None:
    """Add, label, list and show sites."""


def pairs(words: tuple[str, ...], removable: bool = False) -> dict[str, str | None]:
    """Return labels from `key=value` words; with `removable`, `key-` takes a label away (None)."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            found[key] = value
        elif removable and word.endswith("-"):
            found[word[:-1]] = None
        else:
            exits.usage(f"'{word}' is not key=value", "zone=west" + (" or zone- to remove it" if removable else ""))
    return found


@site.command()
@click.argument("name")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be given again.")
@click.option("--zone", "zones", multiple=True, metavar="ZONE", help="A zone it lies in; may be given again.")
@click.option("--region", default="", help="Its region.")
@click.option("--provider", default="", help="Who runs the place.")
@click.option("--time-zone", default="", metavar="ZONE", help="IANA zone of its windows (default: its node's own).")
@click.option("--kit", metavar="DIR", help="Write its first node's configuration and key there.")
@kit_options
@output.formatted("table", "json", "name")
@click.pass_obj
def add(
    client: Client,
    /,
    name: str,
    labels: tuple[str, ...],
    zones: tuple[str, ...],
    region: str,
    provider: str,
    time_zone: str,
    kit: str | None,
    form: str,
    **words: Any,
) -> None:
    """Add a site. With --kit, also write what its first node needs to join."""
    if kit:
        ready(kit)
    elif without := kit_words(words):
        exits.usage(
            f"{', '.join(without)}: said of a kit, and none is to be written", "--kit DIR, or later `holdfast site kit`"
        )
    body = {
        "name": name,
        "labels": pairs(labels),
        "zones": list(zones),
        "region": region,
        "provider": provider,
        "time_zone": time_zone,
        "node": words["node"],
    }
    answer = client.post("/v1/sites", body)
    _print_added(name, answer, form)
    if kit:
        try:
            write_kit(client, name, kit, words)
        except CliError as error:
            why = "; ".join(f"{each.get('path')}: {each['message']}" for each in error.problems) or error.message
            hint = f"holdfast site kit {name} {kit}, with what the node may do"
            text = f"site/{name} is added, its kit is not: {why}"
            raise CliError(text, exits.PARTLY, reason=error.reason, hint=hint) from None


def _print_added(name: str, answer: Any, form: str) -> None:
    if form == "json":
        output.emit(answer, form)
    else:
        click.echo(f"site/{name}" + ("" if form == "name" else " added"))


@site.command()
@click.argument("name")
@click.argument("folder")
@kit_options
@click.option("--force", is_flag=True, help="Replace a kit that is in FOLDER.")
@output.formatted("table", "json", "name")
@click.pass_obj
def kit(client: Client, /, name: str, folder: str, force: bool, form: str, **words: Any) -> None:
    """Write a new configuration and key for a node into FOLDER; its former key is no longer accepted."""
    ready(folder, replace=force)
    files = write_kit(client, name, folder, words)
    if form == "json":
        output.emit({"site": name, "folder": folder, "files": files}, form)
    else:
        for file in files:
            click.echo(file)


@site.command()
@click.argument("name")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def label(client: Client, name: str, labels: tuple[str, ...], form: str) -> None:
    """Set labels of a site (key=value) or take them away (key-)."""
    answer = client.patch(f"/v1/sites/{segment(name)}", {"labels": pairs(labels, removable=True)})
    _print_one(answer, form)


@site.command("eject")
@click.argument("name")
@click.option("--output-dir", "folder", required=True, metavar="DIR", help="Where the files go; must be empty or new.")
@output.formatted("table", "json", "name")
@click.pass_obj
def eject_site(client: Client, name: str, folder: str, form: str) -> None:
    """Write everything a site should be as plain files usable without us, with one script that installs it."""
    target = empty(folder)
    write_all(target, client.post("/v1/eject", {"files": [], "site": name}), form)


@site.command("set-time-zone")
@click.argument("name")
@click.argument("zone")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def set_time_zone(client: Client, name: str, zone: str, form: str) -> None:
    """Set the IANA time zone of a site's windows; "" leaves it to its nodes."""
    _print_one(client.patch(f"/v1/sites/{segment(name)}", {"time_zone": zone}), form)


def _print_one(item: dict[str, Any], form: str) -> None:
    if form in ("json", "yaml"):
        output.emit(item, form)
    else:
        output.listing([item], form, "site", objects.columns("sites"))


@site.command("list")
@click.option("-l", "--selector", metavar="LABELS", help="Only sites whose labels match: zone=west,tier in (a,b),!old.")
@click.option(
    "--field-selector", "fields", metavar="FIELDS", help="Only sites with such fields: arch=arm64,region!=eu."
)
@output.formatted()
@click.pass_obj
def list_sites(client: Client, selector: str | None, fields: str | None, form: str) -> None:
    """List sites: the same as `holdfast get sites`."""
    items = client.get("/v1/sites", selector=selector, fields=fields)["items"]
    _print_all(items, form)


def _print_all(items: list[dict[str, Any]], form: str) -> None:
    output.listing(items, form, "site", objects.columns("sites"))


@site.command()
@click.argument("name")
@output.formatted("table", "json", "yaml")
@click.pass_context
def show(ctx: click.Context, name: str, form: str) -> None:
    """Show one site: the same as `holdfast describe site`."""
    if form == "table":
        ctx.invoke(describe.describe, words=("site", name), form=form)
    else:
        _print_one(ctx.obj.get(f"/v1/sites/{segment(name)}"), form)


@site.command()
@click.argument("names", nargs=-1, required=True, metavar="SITE...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def adopt(client: Client, names: tuple[str, ...], yes: bool, form: str) -> int:
    """End conflicts: this hub's target wins over the newer one each site holds (after a restore of the hub)."""
    objects.confirm(f"Publish this hub's target to {output.some(names)} over the newer one held there?", yes)
    return _of_each(client, "adopt", names, form)


@site.command()
@click.argument("names", nargs=-1, required=True, metavar="SITE...")
@click.option("--reason", required=True, help="Why; others will read it.")
@click.option("--for", "lasts", default="4h", show_default=True, metavar="TIME", help="Given up after: 30m, 4h, 2d.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def reboot(client: Client, names: tuple[str, ...], reason: str, lasts: str, form: str) -> None:
    """Have sites restart their machines once, when their windows are open and nothing there speaks against it."""
    body = {"sites": list(names), "reason": reason, "seconds": duration(lasts)}
    now = time.time()
    columns = {
        "name": lambda item: item["name"],
        "site": lambda item: item["site"],
        "ends": lambda item: output.when(item["until"], now),
        "reason": lambda item: item["reason"],
    }
    output.listing(client.post("/v1/reboots", body)["items"], form, "rebootrequest", columns)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SITE...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def retry(client: Client, names: tuple[str, ...], form: str) -> int:
    """Have sites try their target once more, after they rejected it or went back from it."""
    return _of_each(client, "retry", names, form)


def _of_each(client: Client, action: str, names: Sequence[str], form: str) -> int:
    """Do one thing to each site: where it cannot be done holds up none of the others. Of one alone its error is the answer."""
    names, done, failed = list(dict.fromkeys(names)), [], []
    for name in names:
        try:
            done.append(client.post(f"/v1/sites/{segment(name)}/{action}", {}))
        except CliError as error:
            if len(names) == 1 or error.code == exits.UNREACHABLE:
                raise
            failed.append(error)
    if len(names) == 1:
        _print_one(done[0], form)
    elif done:
        _print_all(done, form)
    for each in failed:
        output.report(each, form)
    return exits.DONE if not failed else exits.PARTLY if done else failed[0].code
