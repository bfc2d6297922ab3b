"""reboot: a technician's word that the machine is to be restarted, as soon as nothing there speaks against it."""

import argparse
from collections.abc import Callable

from holdfast_edge.cli import output
from holdfast_edge.cli.client import ask, state_folder
from holdfast_edge.cli.exits import DONE, USAGE, CliError


def add_to(parser: argparse.ArgumentParser, duration: Callable[[str], float]) -> None:
    """Add the words of `reboot` to its parser; `duration` reads how long a request stands."""
    parser.add_argument("--reason", default="", help="why; others will read it")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=3600.0,
        metavar="TIME",
        help="give it up after: 30m (default 1h)",
    )
    parser.add_argument("--withdraw", action="store_true", help="take back what was asked for here")


def main(options: argparse.Namespace) -> int:
    """Ask for a restart, or take it back; return the exit code."""
    folder = state_folder(options.config)
    if options.withdraw:
        answer = ask(folder, {"do": "withdraw-reboot"})
        text = f"withdrawn: {answer['withdrawn']}"
    elif not options.reason:
        raise CliError("a restart needs a reason", USAGE, reason="NoReason", hint='--reason "why"')
    else:
        answer = ask(folder, {"do": "reboot", "reason": options.reason, "seconds": options.seconds})
        text = "\n".join(output.reboot_lines(answer["status"].get("reboot")))
    if options.output == "json":
        output.show_json(answer)
    else:
        print(text)
    return DONE
