"""Files named with -f: files, folders, `-` for standard input; read whole, bounded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from holdfast_hub.cli import exits
from holdfast_hub.cli.exits import CliError

MAX_FILE: Final = 4 * 1024 * 1024  # bytes
MAX_FILES: Final = 1_000
SUFFIXES: Final = (".yaml", ".yml", ".json")

files_option = click.option(
    "-f",
    "--filename",
    "names",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A file, a folder, or - for standard input; may be given again.",
)
recursive_option = click.option("-R", "--recursive", is_flag=True, help="Look into folders below folders too.")

_PLAIN_OPTIONS: Final = (
    click.option("--name", metavar="NAME", help="What to call plain manifests; else as their file."),
    click.option("-l", "--selector", metavar="LABELS", help="Which sites plain manifests go to: zone=west; * is all."),
    click.option("--field-selector", "fields", metavar="FIELDS", help="The same, by fields: arch=arm64."),
)


def plain_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what may be said of plain Kubernetes manifests among the files; `plain` makes the API's words of it."""
    for option in reversed(_PLAIN_OPTIONS):
        command = option(command)
    return command


def plain(name: str | None, selector: str | None, fields: str | None) -> dict[str, str]:
    return {"name": name or "", "selector": selector or "", "fields": fields or ""}


def read(names: tuple[str, ...], recursive: bool = False) -> list[dict[str, Any]]:
    """Return [{"name", "text"}] in the order given, folders sorted. Raises CliError naming the file."""
    found: list[dict[str, Any]] = []
    for name in names:
        if name == "-":
            found.append({"name": "<stdin>", "text": _text("<stdin>", sys.stdin.buffer.read(MAX_FILE + 1))})
            continue
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.iterdir())
            chosen = [entry for entry in inside if entry.suffix in SUFFIXES and entry.is_file()]
            if not chosen:
                raise CliError(f"{name}: no {', '.join(SUFFIXES)} file in this folder", exits.USAGE, reason="NoFiles")
            found += [_read(entry) for entry in chosen]
        else:
            found.append(_read(path))
    if len(found) > MAX_FILES:
        raise CliError(f"{len(found)} files, the limit is {MAX_FILES}", exits.USAGE, reason="TooMany")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return {"name": str(path), "text": _text(str(path), file.read(MAX_FILE + 1))}
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}", exits.USAGE, reason="CannotRead") from None


def _text(name: str, data: bytes) -> str:
    if len(data) > MAX_FILE:
        raise CliError(f"{name}: larger than {MAX_FILE} bytes", exits.USAGE, reason="TooLarge")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(f"{name}: not UTF-8 at byte {error.start}", exits.USAGE, reason="BadEncoding") from None
