"""Kits on the command line: what a node may do, and its files written for nobody else to read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError

_STATE: Final = "/var/lib/holdfast"
_OPTION: Final = {"roots": "file-root", "state_dir": "state-dir"}


def kit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a kit is for; they arrive as `write_kit` takes them."""
    for option in (
        click.option("--node", default="node-1", show_default=True, help="The node it is for."),
        click.option("--broker", default="", metavar="HOST:PORT", help="Where it reaches the broker (the hub knows)."),
        click.option(
            "--file-root", "roots", multiple=True, metavar="DIR", help="A folder the agent may change files in."
        ),
        click.option("--engine", default="", metavar="URL", help="Its container engine: unix:///run/docker.sock."),
        click.option("--systemd", default="", metavar="system|user", help="The systemd it may change units of."),
        click.option("--kernel", is_flag=True, help="It may change kernel settings, modules and the firewall."),
        click.option("--network", is_flag=True, help="It may change network interfaces."),
        click.option("--machine", is_flag=True, help="It may change the machine's name and clock."),
        click.option("--packages", is_flag=True, help="It may install and remove packages."),
        click.option("--accounts", is_flag=True, help="It may change users, groups and their SSH keys."),
        click.option("--security", is_flag=True, help="It may change sshd's settings and mandatory access control."),
        click.option("--reboots", is_flag=True, help="It may restart the machine, by policy or on request."),
        click.option("--sources", is_flag=True, help="It may add sources of device data."),
        click.option(
            "--bridges", is_flag=True, help="It may hand messages to other brokers, and take them from there."
        ),
        click.option("--kubernetes", default="", metavar="URL", help="The site's own API server: https://HOST:6443."),
        click.option(
            "--devices", default="", metavar="HOST:PORT", help="The site's own broker, where devices publish."
        ),
        click.option(
            "--device-broker", default="", metavar="HOST:PORT", help="Where the agent itself runs a broker for devices."
        ),
        click.option(
            "--profile",
            default="",
            metavar="PROFILE",
            help="What it may take: micro, mini, standard (its memory says).",
        ),
        click.option("--state-dir", default=_STATE, show_default=True, metavar="DIR", help="The agent's state."),
    ):
        command = option(command)
    return command


def ready(folder: str, *, replace: bool = False) -> None:
    """Make the folder of a kit before the hub makes one and gives up the one before; raises CliError where one is already."""
    target = Path(folder)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = [file for file in ("edge.toml", "node.key") if (target / file).exists()]
    except OSError as error:
        raise CliError(f"{folder}: {error.strerror}", exits.USAGE, reason="CannotWrite") from None
    if not os.access(target, os.W_OK):
        raise CliError(f"{folder}: not writable", exits.USAGE, reason="CannotWrite")
    if there and not replace:
        raise CliError(
            f"{target / there[0]} is there already: a new kit would replace what a node may be running with",
            exits.CONFLICT,
            reason="KitThere",
            hint="name another folder; `holdfast site kit --force` replaces it",
        )


def kit_words(words: dict[str, Any]) -> list[str]:
    """Return the options given that say something of a kit alone: with no kit to write they would have no effect."""
    unsaid = ("", (), False, _STATE)
    return [f"--{_OPTION.get(key, key)}" for key, value in words.items() if key != "node" and value not in unsaid]


def write_kit(client: Client, name: str, folder: str, words: dict[str, Any]) -> list[str]:
    """Write a node's edge.toml and key into `folder`, readable by its owner alone; return their paths."""
    body = {key: value for key, value in words.items() if key not in ("roots", "state_dir", "broker")}
    if words["broker"]:
        host, _, port = words["broker"].rpartition(":")
        if not host or not port.isdigit():
            exits.usage(f"--broker {words['broker']} is not HOST:PORT")
        body |= {"host": host, "port": int(port)}
    body["file_roots"] = [str(Path(root).absolute()) for root in words["roots"]]
    body["state_dir"] = str(Path(words["state_dir"]).absolute())
    files = client.post(f"/v1/sites/{segment(name)}/kit", body)["files"]
    target = Path(folder)
    try:
        for file, text in files.items():
            descriptor = os.open(target / Path(file).name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(text)
    except OSError as error:
        raise CliError(f"{folder}: {error.strerror}", exits.USAGE, reason="CannotWrite") from None
    output.say(f"kit in {folder}: run `holdfast-edge run --config {target / 'edge.toml'}` at the site")
    return [str(target / Path(file).name) for file in files]
