"""What commands print: data on standard output, everything else on standard error.

`rich` is imported only to print a table for a person; off a terminal a table is plain aligned text.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import click

from holdfast_hub.cli.exits import CliError

_WIDEST: Final = 100_000  # characters: no table is wider
_FOLDED: Final = 40  # characters: the last column of a table for a person is folded to no less
FORMATS: Final = ("table", "json", "yaml", "name")
_COLOURS: Final = {
    "Converged": "green",
    "Ready": "green",
    "online": "green",
    "Applying": "yellow",
    "Progressing": "yellow",
    "Pending": "yellow",
    "Waiting": "yellow",
    "Held": "yellow",
    "Degraded": "red",
    "Failed": "red",
    "Conflict": "red",
    "Unsupported": "magenta",
    "Offline": "red",
    "offline": "red",
}


def formatted(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the `-o` option over `names` (all formats when none is given)."""
    choices = names or FORMATS
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="How to print it.",
    )


def colourful(stream: Any = None) -> bool:
    """Return whether colours may be printed: NO_COLOR and FORCE_COLOR decide before the terminal does."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool((stream or sys.stdout).isatty())


def say(text: str) -> None:
    """Print a line for people on standard error."""
    click.echo(text, err=True, color=colourful(sys.stderr))


def emit(value: Any, form: str) -> None:
    """Print a value as JSON or YAML."""
    if form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[Sequence[str]] = ()) -> None:
    """Print rows under column titles, each with its notes below it; an empty table says so on standard error."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        say("nothing there")
    elif colourful() and not any(notes):
        _rich_table(columns, cells)
    else:
        _plain_table(columns, cells, notes)


def _plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[Sequence[str]]) -> None:
    widths = [max(len(title), *(len(row[index]) for row in cells)) for index, title in enumerate(columns)]
    for row, below in zip_longest([list(columns), *cells], [(), *notes], fillvalue=()):
        padded = [(cell, cell.ljust(width)) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(click.style(text, fg=_COLOURS.get(cell)) for cell, text in padded) if colourful() else ""
        click.echo((line or "  ".join(text for _, text in padded)).rstrip(), color=colourful())
        for note in below:
            click.echo(f"    {printable(note)}")


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    last = max(len(row[-1]) for row in rows)
    for title in columns[:-1]:
        grid.add_column(title, no_wrap=True)  # names are copied: nothing is cut
    grid.add_column(columns[-1], overflow="fold", min_width=min(last, _FOLDED))
    for row in rows:
        grid.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    least = Console(width=_WIDEST).measure(grid).minimum
    Console(highlight=False, width=max(Console().width, least)).print(grid)


def listing(
    items: Sequence[Mapping[str, Any]], form: str, kind: str, columns: Mapping[str, Callable[[Mapping[str, Any]], Any]]
) -> None:
    """Print a list of objects of `kind` in any of the formats."""
    if form == "table":
        table([title.upper() for title in columns], [[read(item) for read in columns.values()] for item in items])
    elif form == "name":
        for item in items:
            click.echo(f"{kind}/{item['name']}")
    else:
        emit({"items": list(items)}, form)


def report(error: CliError, form: str = "table") -> None:
    """Print an error on standard error: its place, what is wrong, what to try."""
    if form == "json":
        body = {"reason": error.reason, "message": error.message, "hint": error.hint, "problems": list(error.problems)}
        click.echo(json.dumps({"error": body}), err=True)
        return
    if error.problems:
        problems(in_order(error.problems))
        wrong = sum(1 for problem in error.problems if problem.get("severity", "error") == "error")
        say(f"{wrong} error{'s' if wrong != 1 else ''}, nothing was changed")
    else:
        say(f"{click.style('error:', fg='red')} {printable(error.message)}")
    if error.hint:
        say(f"  try: {printable(error.hint)}")


def in_order(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return problems as a reader goes through the files: those of each file by their lines, the files as they come."""
    files = list(dict.fromkeys(problem.get("file") for problem in found))
    return sorted(
        found,
        key=lambda one: (files.index(one.get("file")), one.get("line") or 0, one.get("column") or 0),
    )


def problems(found: Iterable[Mapping[str, Any]]) -> None:
    """Print problems as file:line:column: path: message, each with its hint."""
    for problem in found:
        place = ":".join(str(problem[part]) for part in ("file", "line", "column") if problem.get(part))
        severity = problem.get("severity", "error")
        label = click.style(f"{severity}:", fg="red" if severity == "error" else "yellow")
        words = [f"{place}:" if place else "", label]
        words += [f"{problem['path']}:" if problem.get("path") else "", str(problem["message"])]
        say(printable(" ".join(word for word in words if word), styled=True))
        if problem.get("hint"):
            say(f"   try: {printable(str(problem['hint']))}")


def printable(text: str, *, styled: bool = False) -> str:
    """Return `text` without control characters a terminal would obey (its own colours kept when `styled`)."""
    kept = "\n\t\x1b" if styled else "\n\t"
    return "".join(char if char.isprintable() or char in kept else f"\\x{ord(char):02x}" for char in text)


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def age(milliseconds: int | None, now: float) -> str:
    """Return how long ago a moment was, in one unit: 3s, 14m, 2h, 9d; "-" for never."""
    if not milliseconds:
        return "-"
    seconds = max(0, int(now - milliseconds / 1000))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def when(milliseconds: int, now: float) -> str:
    """Return a moment as people say it: 14m ago, in 2h."""
    ahead = milliseconds / 1000 - now
    return f"in {age(int((now - ahead) * 1000), now)}" if ahead > 0 else f"{age(milliseconds, now)} ago"
