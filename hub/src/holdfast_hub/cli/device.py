"""device: what a person says to one device at one site, or about it."""

import json
import time
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError
from holdfast_hub.cli.spans import duration

_LOOK: Final = 0.2  # seconds between two looks at a command
_LATE: Final = 60.0  # seconds after its deadline within which the hub has ended every command


def columns(now: float) -> dict[str, Any]:
    """Return the table columns of devices."""
    return {
        "site": lambda item: item["site"],
        "device": lambda item: item["device"],
        "node": lambda item: item["node"],
        "metrics": lambda item: len(item["metrics"]) if isinstance(item["metrics"], list) else item["metrics"],
        "labels": lambda item: ",".join(f"{key}={value}" for key, value in sorted(item["labels"].items())) or "-",
        "last reading": lambda item: output.age(item["last_seen"], now),
    }


def path_of(name: str) -> str:
    """Return where the API has a device SITE/DEVICE; raises CliError for another word."""
    if not all(name.partition("/")):
        exits.usage(f"'{name}' is not SITE/DEVICE", "holdfast get devices")
    return f"/v1/devices/{segment(name)}"


@click.group()
def device() -> None:
    """Command, label and forget devices, and say what they shall be. A device is named SITE/DEVICE."""


@device.command()
@click.argument("name", metavar="SITE/DEVICE")
@click.argument("command", metavar="NAME")
@click.option("--data", default="null", metavar="JSON", help="What it is told.")
@click.option("--deadline", default="10m", show_default=True, metavar="TIME", help="Not begun after: 90s, 30m, 2h, 2d.")
@click.option("--wait", is_flag=True, help="Wait for the outcome; exit 1 when it is not an answer.")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def command(client: Client, name: str, command: str, data: str, deadline: str, wait: bool, form: str) -> int:
    """Order NAME of a device once, as soon as its site is there, and record what it answers."""
    body = {"name": command, "data": _json(data), "seconds": duration(deadline)}
    made: dict[str, Any] = client.post(f"{path_of(name)}/commands", body)
    if wait:
        made = _ended(client, made)
    if form in ("json", "yaml"):
        output.emit(made, form)
    elif form == "name":
        click.echo(f"command/{made['id']}")
    else:
        answer = json.dumps(made["answer"], ensure_ascii=False)
        output.table(["ID", "STATE", "REASON", "ANSWER"], [[made["id"], made["state"], made["reason"] or "-", answer]])
    return exits.DONE if not wait or made["state"] == "answered" else exits.NEGATIVE


def _ended(client: Client, made: dict[str, Any]) -> dict[str, Any]:
    while made["state"] == "waiting":
        if time.time() > made["deadline"] / 1000 + _LATE:
            raise CliError("the hub has not ended it", exits.TIMED_OUT, reason="Timeout")
        time.sleep(_LOOK)
        made = client.get(f"/v1/commands/{segment(made['id'])}")
    return made


@device.command()
@click.argument("name", metavar="SITE/DEVICE")
@click.argument("properties", nargs=-1, required=True, metavar="PROPERTY=JSON...")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def desire(client: Client, name: str, properties: tuple[str, ...], form: str) -> None:
    """Say what properties a device shall have: setpoint=21.5 mode='"eco"'; PROPERTY- takes one away."""
    wanted: dict[str, Any] = {}
    for each in properties:
        key, equals, value = each.partition("=")
        if equals:
            wanted[key] = _json(value)
        elif key.endswith("-"):
            wanted[key[:-1]] = None
        else:
            exits.usage(f"'{each}' is not PROPERTY=JSON", "setpoint=21.5")
    answer = client.post(f"{path_of(name)}/desired", {"properties": wanted})
    if form != "table":
        output.emit(answer, form)
        return
    now = time.time()
    output.table(
        ["PROPERTY", "DESIRED", "REPORTED", "AGE", "SETTLED"],
        [
            [
                one["property"],
                json.dumps(one["desired"]),
                "-" if one["reported"] is None else json.dumps(one["reported"]),
                output.age(one["reported_at"], now),
                "yes" if one["settled"] else "no",
            ]
            for one in answer["twin"]["properties"]
        ],
    )


@device.command()
@click.argument("name", metavar="SITE/DEVICE")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def label(client: Client, name: str, labels: tuple[str, ...], form: str) -> None:
    """Set labels of a device; KEY- takes one away."""
    wanted: dict[str, str | None] = {}
    for each in labels:
        key, equals, value = each.partition("=")
        if not equals and not each.endswith("-"):
            exits.usage(f"'{each}' is neither KEY=VALUE nor KEY-")
        wanted[key if equals else each[:-1]] = value if equals else None
    item = client.patch(path_of(name), {"labels": wanted})
    if form in ("json", "yaml"):
        output.emit(item, form)
    else:
        output.listing([item], form, "device", columns(time.time()))


@device.command()
@click.argument("name", metavar="SITE/DEVICE")
@output.formatted("table", "json", "yaml", "name")
@click.pass_obj
def forget(client: Client, name: str, form: str) -> None:
    """Take a device off the list until it speaks again. Its readings stay."""
    answer = client.delete(path_of(name))
    if form in ("json", "yaml"):
        output.emit(answer, form)
    else:
        click.echo(answer["deleted"] + ("" if form == "name" else " forgotten"))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return exits.usage(f"'{text[:80]}' is no JSON", """texts need quotes: '"eco"'""")
