"""override set, list, drop: a technician's change, kept over every target until the hub decides."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from holdfast_edge.cli import output
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import DONE, NOT_FOUND, USAGE, CliError


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the words of `override` to its parser."""
    parser.add_argument("what", choices=("set", "list", "drop"), help="what to do")
    parser.add_argument(
        "name", nargs="?", default="", metavar="KIND/NAME|ID", help="of set: a resource; of drop: either"
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--patch", default="", metavar="JSON", help="what to merge into the resource")
    given.add_argument("-f", "--file", default="", metavar="FILE", help="the same in a file, JSON or YAML; - is stdin")
    parser.add_argument("--reason", default="", help="why; the hub will read it")
    parser.add_argument("--for", dest="lasts", default="", metavar="TIME", help="90s, 30m, 2h, 7d (default: no end)")


def main(options: argparse.Namespace) -> int:
    """Do what was said; return the exit code."""
    folder = state_folder(options.config)
    if options.what == "list":
        answer = ask(folder, {"do": "overrides"})
        text = _table(answer["overrides"])
    elif not options.name:
        raise CliError(f"override {options.what} needs a name", USAGE, reason="Usage", hint="KIND/NAME")
    elif options.what == "drop":
        answer = ask(folder, {"do": "drop-override", "id": options.name})
        text = f"dropped {answer['override']['id']}"
    else:
        if not options.reason:
            raise CliError("an override needs a reason", USAGE, reason="NoReason", hint='--reason "why"')
        request = {"id": options.name, "patch": _patch(options), "reason": options.reason}
        answer = ask(folder, {"do": "override", **request, "seconds": _seconds(options.lasts)})
        text = _table([answer["override"]])
    if options.output == "json":
        output.show_json(answer)
    else:
        print(text)
    return DONE


def _seconds(text: str) -> float:
    from holdfast_edge.cli.spans import duration

    try:
        return duration(text) if text else 0.0
    except ValueError as error:
        raise CliError(str(error), USAGE, reason="Usage", hint="--for 7d") from None


def _patch(options: argparse.Namespace) -> dict[str, Any]:
    if options.file:
        try:
            text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
        except OSError as error:
            raise CliError(f"{options.file}: {error.strerror}", NOT_FOUND, reason="NoFile") from None
        except UnicodeDecodeError as error:
            raise CliError(f"{options.file}: {error}", USAGE, reason="InvalidInput") from None
    else:
        text = options.patch
    try:
        patch = _read(text)
    except ValueError as error:
        raise CliError(f"the patch: {error}", USAGE, reason="InvalidInput") from None
    if not isinstance(patch, dict):
        raise CliError("the patch is a map", USAGE, reason="InvalidInput", hint='--patch \'{"spec": {"replicas": 2}}\'')
    return patch


def _read(text: str) -> Any:
    """Return JSON, or YAML where this machine can read it. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        try:
            import yaml
        except ImportError:
            raise
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise ValueError(f"{getattr(error, 'problem', None) or error}{place}") from None


def _table(every: list[dict[str, Any]]) -> str:
    if not every:
        return "no overrides"
    rows = [(each["id"], each["resource"], _end(each.get("until", 0)), each["by"], each["reason"]) for each in every]
    return output.table(("ID", "RESOURCE", "ENDS", "BY", "REASON"), rows)


def _end(until: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(until / 1000)) if until else "never"
