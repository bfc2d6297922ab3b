"""blueprint: leaving us at any time, with plain files."""

import base64
import os
from pathlib import Path
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output, sources
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import CliError

_WHAT: Final = (
    ("install.sh", "installs all of it, or takes it back"),
    ("README.md", "read it first"),
    (".unit", "systemd unit"),
    ("docker-compose.yaml", "containers for docker compose"),
    ("otel-config.yaml", "OpenTelemetry Collector configuration"),
    ("file-modes.yaml", "modes and owners of files"),
    ("undecided-resources.yaml", "NOT ejected: decided at the site"),
    (".yaml", "manifest"),
)


@click.group()
def blueprint() -> None:
    """Eject a blueprint to plain files."""


@blueprint.command()
@click.option(
    "--blueprint",
    "names",
    multiple=True,
    metavar="FILE",
    help="The blueprint's file, and files of instances; none: everything the hub holds.",
)
@click.option("--output-dir", "folder", required=True, metavar="DIR", help="Where the files go; must be empty or new.")
@click.option("--offline", is_flag=True, help="Ask no hub: only the instances in the given files.")
@output.formatted("table", "json", "name")
@click.pass_obj
def eject(client: Client, names: tuple[str, ...], folder: str, offline: bool, form: str) -> None:
    """Write a folder per active instance with a plain file per component, usable without us.

    Instances come from the hub; with no hub, from the documents in the given files.
    """
    target = empty(folder)
    write_all(target, _answer(client, sources.read(names), offline), form)


def empty(folder: str) -> Path:
    """Return a folder that is empty or new. Raises CliError."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        exits.usage(f"{folder} is not an empty folder", "name a new one")
    return target


def write_all(target: Path, answer: dict[str, Any], form: str) -> None:
    """Write what a hub ejected, and say what is what."""
    output.problems(answer.get("warnings", ()))
    files: dict[str, str] = answer["files"]
    if not files:
        raise CliError("no active instance to eject", exits.NEGATIVE, reason="Empty", hint="name the instances' files")
    modes: dict[str, int] = answer.get("modes", {})
    encoded = set(answer.get("encoded", ()))
    private = sorted(file for file in files if not modes.get(file, 0o644) & 0o077)
    content = {file: base64.b64decode(text) if file in encoded else text.encode() for file, text in files.items()}
    write(target, content, modes)
    if private:
        output.say(f"{len(private)} files hold secrets and are for you alone (0600): {', '.join(private)}")
    if form == "json":
        output.emit({"folder": str(target), "files": sorted(files), "private": private}, form)
        return
    for file in sorted(files):
        what = next((words for suffix, words in _WHAT if file.endswith(suffix)), "file")
        click.echo(str(target / file) if form == "name" else f"{target / file}  ({what})")


def _answer(client: Client, files: list[dict[str, Any]], offline: bool) -> dict[str, Any]:
    if not offline:
        try:
            answer: dict[str, Any] = client.post("/v1/eject", {"files": files})
            return answer
        except CliError as error:
            if error.code != exits.UNREACHABLE or not files:
                raise
            output.say("no hub answers: instances are those in the given files")
    from holdfast_hub.cli.offline import eject_files

    return eject_files(files)


def write(target: Path, files: dict[str, bytes], modes: dict[str, int]) -> None:
    """Write `files` (by relative path) below `target`. A path that would leave it raises CliError."""
    root = target.resolve()
    for file, content in files.items():
        path = (root / file).resolve()
        if not path.is_relative_to(root) or path == root:
            raise CliError(f"{file} would leave {target}", exits.USAGE, reason="BadPath")
        mode = modes.get(file, 0o644) & 0o777
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as made:
                made.write(content)
            path.chmod(mode)
        except OSError as error:
            raise CliError(f"{path}: {error.strerror}", exits.USAGE, reason="CannotWrite") from None
