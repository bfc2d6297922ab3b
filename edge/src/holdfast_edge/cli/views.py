"""Views: what a person at the site looks at besides state and plan, and the unit that runs the agent."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from holdfast_edge.cli import output
from holdfast_edge.cli.bridge_view import add_bridge
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import BY_REASON, DONE, UNREACHABLE, USAGE, CliError
from holdfast_edge.cli.ingest_view import add_ingest
from holdfast_edge.cli.outbox_view import outbox_text

PAGE: Final = "127.0.0.1:8470"


def add_views(add: Any) -> None:
    """Add the commands: `add(name, function, text)` makes a parser."""
    readings = add("readings", _readings, "Show the newest reading of every series.")
    readings.add_argument("device", nargs="?", default="", metavar="DEVICE", help="only of this device")
    readings.add_argument("--metric", default="", help="only of this metric")
    logs = add("logs", _logs, "Show what a workload wrote last: containers and units.")
    logs.add_argument("resource", metavar="KIND/NAME", help="which one")
    logs.add_argument("--lines", type=int, default=100, metavar="N", help="how many lines at most (default 100)")
    journal = add("journal", _journal, "Show what the agent did last.")
    journal.add_argument("--lines", type=int, default=50, metavar="N", help="how many changes at most (default 50)")
    add("outbox", _outbox, "Show what waits for the hub, what was lost and why, and how long the room lasts.")
    add_ingest(add)
    add_bridge(add)
    page = add("page", _page, "Show all of it as a page for a browser on this machine, until interrupted.")
    page.add_argument("--listen", default=PAGE, metavar="WHERE", help=f"127.0.0.1:PORT or unix:PATH (default {PAGE})")
    page.add_argument("--logs", action="store_true", help="show what workloads wrote, too")
    add("unit", _unit, "Print the systemd unit that runs the agent within the budgets of its profile.")


def _show(options: argparse.Namespace, answer: dict[str, Any], text: str) -> int:
    if options.output == "json":
        output.show_json(answer)
    else:
        print(text)
    return DONE


def _readings(options: argparse.Namespace) -> int:
    request = {"do": "readings", "device": options.device, "metric": options.metric}
    answer = ask(state_folder(options.config), request)
    asked = " ".join(filter(None, (options.device, options.metric)))
    return _show(options, answer, output.readings_text(answer["readings"], asked))


def _logs(options: argparse.Namespace) -> int:
    answer = ask(state_folder(options.config), {"do": "logs", "id": options.resource, "limit": options.lines})
    return _show(options, answer, output.harmless(answer["logs"]) or "it has written nothing")


def _journal(options: argparse.Namespace) -> int:
    answer = ask(state_folder(options.config), {"do": "journal", "limit": options.lines})
    return _show(options, answer, output.journal_text(answer["journal"]))


def _outbox(options: argparse.Namespace) -> int:
    folder = state_folder(options.config)
    try:
        answer = ask(folder, {"do": "outbox"})
    except CliError as error:
        if error.code != UNREACHABLE:
            raise
        answer = _left_behind(folder)
    _show(options, answer, outbox_text(answer))
    return DONE if answer["running"] else UNREACHABLE


def _left_behind(folder: Path) -> dict[str, Any]:
    """Return what is on the disk, when the agent is not there to ask."""
    import sqlite3

    from holdfast_edge.store.outbox_look import look

    try:
        classes = look(folder)
    except sqlite3.Error as error:
        raise CliError(f"the agent is not running and its outbox: {error}", UNREACHABLE, reason="NotRunning") from None
    print("the agent is not running; this is what is on the disk:", file=sys.stderr)
    free = shutil.disk_usage(folder).free
    return {"running": False, "classes": classes, "budget": None, "disk_free": free, "link": None}


def _page(options: argparse.Namespace) -> int:
    import anyio
    import anyio.to_thread

    from holdfast_edge.page.address import place
    from holdfast_edge.page.server import run_page
    from holdfast_protocol.errors import InputError, MisuseError

    try:
        where = place(options.listen)
    except InputError as error:
        raise CliError(error.message, USAGE, reason=error.reason) from None
    folder = state_folder(options.config)

    def answer(words: dict[str, Any]) -> dict[str, Any]:
        try:
            return ask(folder, words)
        except CliError as error:
            raise MisuseError(error.message, reason=error.reason, hint=error.hint) from None

    async def asked(words: dict[str, Any]) -> dict[str, Any]:
        return await anyio.to_thread.run_sync(answer, words, abandon_on_cancel=True)

    def trouble(text: str) -> None:
        if text:
            raise CliError(text, UNREACHABLE, reason="NoPage", hint="--listen 127.0.0.1:PORT")

    def served(url: str) -> None:
        print(f"open {url}" if url.startswith("http") else f"{url} (ssh -L 8470:{where.socket} leads a browser there)")
        sys.stdout.flush()

    async def run() -> None:
        await run_page(where, asked, logs=options.logs, served=served, note=trouble)

    anyio.run(run)
    return DONE


def _unit(options: argparse.Namespace) -> int:
    from holdfast_edge import settings
    from holdfast_edge.core import profiles
    from holdfast_protocol.errors import InputError

    config = options.config.absolute()
    try:
        read = settings.read(config)
    except InputError as error:
        raise CliError(error.message, BY_REASON.get(error.reason, USAGE), reason=error.reason) from None
    program = Path(sys.argv[0]).absolute()
    text = profiles.unit(str(program), str(config), read.budgets)
    return _show(options, {"unit": text, "profile": read.profile}, text.rstrip())
