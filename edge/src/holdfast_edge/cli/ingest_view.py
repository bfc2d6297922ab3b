"""Where device data comes from and how that goes, and what samples become by the rules in a file."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast_edge.cli import output
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import DONE, NEGATIVE, USAGE, CliError


def add_ingest(add: Any) -> None:
    """Add the command: `add(name, function, text)` makes a parser."""
    verb = add(
        "ingest", _ingest, "Show the sources of device data; with `test RULES SAMPLE`, what samples become by rules."
    )
    verb.add_argument(
        "words",
        nargs="*",
        metavar="test RULES SAMPLE",
        help="a file with a DeviceSource; lines `TOPIC PAYLOAD`, - here",
    )
    verb.add_argument("--topic", default="", help="SAMPLE is one payload, published to this topic")


def _ingest(options: argparse.Namespace) -> int:
    match options.words:
        case []:
            answer = ask(state_folder(options.config), {"do": "ingest"})
            if options.output == "json":
                output.show_json(answer)
            else:
                print(sources_text(answer["sources"]))
            return DONE
        case ["test", rules, sample]:
            return _test(rules, sample, options)
    raise CliError("ingest takes nothing, or: test RULES SAMPLE", USAGE, reason="Usage")


def _test(rules: str, sample: str, options: argparse.Namespace) -> int:
    import msgspec

    from holdfast_protocol.errors import InputError
    from holdfast_protocol.kinds.source_trial import shown, tried

    try:
        text = Path(rules).read_text(encoding="utf-8")
        content = sys.stdin.buffer.read() if sample == "-" else Path(sample).read_bytes()
        found = tried(text, rules, content, int(time.time() * 1000), options.topic)
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", USAGE, reason="CannotRead") from None
    except UnicodeDecodeError as error:
        raise CliError(str(error), USAGE, reason="CannotRead") from None
    except InputError as error:
        raise CliError(error.message, USAGE, reason=error.reason) from None
    if options.output == "json":
        output.show_json({"samples": msgspec.to_builtins(found)})
    else:
        print("\n".join(map(shown, found)))
    return NEGATIVE if any(each.is_rejected for each in found) else DONE


def sources_text(sources: dict[str, dict[str, Any]]) -> str:
    """Return the sources as a table, and below it what each rejected."""
    if not sources:
        return "no sources of device data"
    rows = [
        (
            key,
            each["phase"],
            f"{each['per_s']:g}/s",
            str(each["readings"]),
            str(sum(one[0] for one in each["rejected"].values())),
            _moment(each["last_message_at"]),
            output.harmless(": ".join(filter(None, (each["reason"], each["problem"])))),
        )
        for key, each in sources.items()
    ]
    lines = [output.table(("SOURCE", "STATE", "RATE", "READINGS", "REJECTED", "LAST", "PROBLEM"), rows)]
    for key, each in sources.items():
        if each["orders"]:
            lines.append(output.harmless(f"{key} carries no commands now: {each['orders']}"))
        for reason, (count, topic, message, place) in sorted(each["rejected"].items()):
            where = f" at {place}" if place else ""
            lines.append(output.harmless(f"{key} rejected {count} {reason}{where}, the first: {topic}: {message}"))
    return "\n".join(lines)


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "-"
