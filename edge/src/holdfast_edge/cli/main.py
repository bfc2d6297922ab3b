"""holdfast-edge: run the agent, ask it, hold it back."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from holdfast_edge.cli import output, overrides, reboot
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import (
    BY_REASON,
    CONFLICT,
    DENIED,
    DONE,
    INTERRUPTED,
    NEGATIVE,
    NOT_FOUND,
    PARTLY,
    UNREACHABLE,
    USAGE,
    CliError,
)
from holdfast_edge.cli.views import add_views
from holdfast_protocol import VERSION

CONFIG: Final = "/etc/holdfast/edge.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; arguments default to the process's own."""
    options = command_line().parse_args(arguments)
    try:
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except CliError as error:
        output.show_error(error, options.output)
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        said = error.strerror or str(error)
        trouble = CliError(f"the output cannot be written: {said}", PARTLY, reason="CannotWrite")
        if error.filename is not None:
            code = DENIED if isinstance(error, PermissionError) else USAGE
            trouble = CliError(f"{error.filename}: {said}", code, reason="CannotUse")
        output.show_error(trouble, options.output)
        if error.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return trouble.code


def command_line() -> argparse.ArgumentParser:
    """Return the parser of every verb with its options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("HOLDFAST_EDGE_CONFIG", CONFIG)),
        help=f"settings (default: $HOLDFAST_EDGE_CONFIG or {CONFIG})",
    )
    common.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to show answers")
    parser = argparse.ArgumentParser(
        prog="holdfast-edge", description="Keeps this site at its target, connected or not."
    )
    parser.add_argument("--version", action="version", version=f"holdfast-edge, version {VERSION}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, parents=[common], help=text, description=text)
        verb.set_defaults(command=command)
        return verb

    add("run", _run, "Run the agent until it is told to stop.")
    add("status", _status, "Say what is and is not as wanted. Exit code 1 when not converged.")
    add("plan", _plan, "Say what the agent would do now, and why not. Exit code 1 when there is something.")
    add("retry", _retry, "Try the newest target once more, after it was rejected or gone back from.")
    add(
        "slots",
        _slots,
        "Make two slots, so that the agent can be upgraded by a target; the unit then starts slots/launch.py.",
    )
    overrides.add_to(add("override", overrides.main, "Lay a change over a resource here, list or drop such changes."))
    reboot.add_to(add("reboot", reboot.main, "Restart the machine once, when nothing speaks against it."), _duration)
    guard = add("guard", _guard, "Go back from a trial that the agent left standing; its timer starts this.")
    guard.add_argument("--trial", required=True, metavar="ID", help="which trial")
    guard.add_argument("--after", type=float, default=0.0, metavar="SECONDS", help="wait so long first")
    hold = add("hold", _hold, "Make the agent leave everything, or the resources named, alone for a while.")
    hold.add_argument("resources", nargs="*", metavar="KIND/NAME", help="what to leave alone (default: everything)")
    hold.add_argument(
        "--for",
        dest="seconds",
        type=_duration,
        default=3600.0,
        metavar="TIME",
        help="how long: 90s, 30m (default 1h), 2d, at most 30d",
    )
    hold.add_argument("--reason", default="", help="why; others will read it")
    look = add(
        "db", _db, "Look into a database with sqlite-utils (the extra `tools`); for copies, or while the agent is down."
    )
    look.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="...", help="sqlite-utils' own words: tables FILE --counts"
    )
    add_views(add)
    what = hold.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the holds that stand")
    what.add_argument("--release", metavar="ID", default="", help="end a hold now")
    return parser


def _duration(text: str) -> float:
    from holdfast_edge.cli.spans import duration

    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    import logging

    import anyio

    from holdfast_edge import agent, settings
    from holdfast_protocol.errors import HoldfastError, InputError, render
    from holdfast_protocol.runtime.tasks import LoopDied

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        anyio.run(agent.run_agent, settings.read(options.config), options.config.absolute())
    except InputError as error:
        hint = next((each.hint for each in error.problems if each.hint), "")
        raise CliError(error.message, USAGE, reason=error.reason, hint=hint) from None
    except HoldfastError as error:
        raise CliError(render(error), BY_REASON.get(error.reason, NEGATIVE), reason=error.reason) from None
    except BaseExceptionGroup as group:
        died, others = group.split((LoopDied, HoldfastError))
        if died is None or others is not None:
            raise
        first: BaseException = died
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        cause = first.__cause__ or first
        reason = cause.reason if isinstance(cause, HoldfastError) else type(first).__name__
        raise CliError(f"{first}: {cause}", BY_REASON.get(reason, NEGATIVE), reason=reason) from None
    return DONE


def _status(options: argparse.Namespace) -> int:
    folder = state_folder(options.config)
    try:
        answer = ask(folder, {"do": "status"})
    except CliError as error:
        if error.code != UNREACHABLE:
            raise
        answer = _remembered(folder)
    if options.output == "json":
        output.show_json(answer)
    else:
        print(output.status_text(answer))
    if not answer["running"]:
        return UNREACHABLE
    return DONE if answer["status"]["state"] == "Converged" else NEGATIVE


def _remembered(folder: Path) -> dict[str, Any]:
    """Return what the agent said last, when it is not there to ask."""
    import sqlite3

    import msgspec

    from holdfast_edge.store.memory import last_status

    try:
        status = last_status(folder)
    except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CliError(
            f"the agent is not running and its database: {error}", UNREACHABLE, reason="NotRunning"
        ) from None
    if status is None:
        raise CliError(f"the agent is not running and has left no status in {folder}", NOT_FOUND, reason="NoStatus")
    print("the agent is not running; this is what it said last:", file=sys.stderr)
    return {"status": msgspec.to_builtins(status), "running": False}


def _plan(options: argparse.Namespace) -> int:
    rows = ask(state_folder(options.config), {"do": "plan"})["plan"]
    if options.output == "json":
        output.show_json({"plan": rows})
    else:
        print(output.plan_text(rows))
    return NEGATIVE if rows else DONE


def _slots(options: argparse.Namespace) -> int:
    from holdfast_edge.providers.version.slots import Slots
    from holdfast_protocol.errors import ConflictError

    slots = Slots(state_folder(options.config) / "slots")
    try:
        slots.make(VERSION)
    except ConflictError as error:
        raise CliError(error.message, CONFLICT, reason=error.reason) from None
    start = f"{sys.executable} {slots.folder}/launch.py run --config {options.config.absolute()}"
    if options.output == "json":
        output.show_json({"slots": str(slots.folder), "start": start})
    else:
        print(f"made; in the unit, say: ExecStart={start}")
    return DONE


def _guard(options: argparse.Namespace) -> int:
    import anyio

    from holdfast_edge import rescue, settings
    from holdfast_protocol.errors import HoldfastError, InputError, render

    try:
        config = options.config.absolute()
        print(anyio.run(rescue.run_rescue, settings.read(config), config, options.trial, options.after))
    except InputError as error:
        raise CliError(error.message, USAGE, reason=error.reason) from None
    except HoldfastError as error:
        raise CliError(render(error), NEGATIVE, reason=error.reason) from None
    return DONE


def _retry(options: argparse.Namespace) -> int:
    answer = ask(state_folder(options.config), {"do": "retry"})
    if options.output == "json":
        output.show_json(answer)
    else:
        print(f"trying generation {answer['status']['generation']} again")
    return DONE


def _hold(options: argparse.Namespace) -> int:
    folder = state_folder(options.config)
    if options.list:
        answer = ask(folder, {"do": "holds"})
        text = output.holds_text(answer["holds"])
    elif options.release:
        answer = ask(folder, {"do": "release", "id": options.release})
        text = f"released {answer['hold']['id']}"
    else:
        if not options.reason:
            raise CliError("a hold needs a reason", USAGE, reason="NoReason", hint='--reason "why"')
        request = {"seconds": options.seconds, "reason": options.reason, "resources": options.resources}
        answer = ask(folder, {"do": "hold", **request})
        text = output.holds_text([answer["hold"]])
        for key in answer["not_there"]:
            print(f"note: the target has no {key} now; held once it has", file=sys.stderr)
    if options.output == "json":
        output.show_json(answer)
    else:
        print(text)
    return DONE


def _db(options: argparse.Namespace) -> int:
    import importlib.util

    if importlib.util.find_spec("sqlite_utils") is None:
        hint = "pip install 'holdfast-edge[tools]'"
        raise CliError("sqlite-utils is not installed", USAGE, reason="NotInstalled", hint=hint)
    from sqlite_utils.cli import cli

    sys.exit(cli.main(options.words, prog_name="holdfast-edge db"))


if __name__ == "__main__":
    sys.exit(main())
