"""wait: the hub's events instead of polling, and a look again at each."""

import time
from collections.abc import Sequence
from typing import Any

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError
from holdfast_hub.cli.objects import split


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE/NAME")
@click.option("--for", "state", default="Converged", show_default=True, metavar="STATE", help="The state to wait for.")
@click.option("--timeout", type=float, default=60, show_default=True, metavar="SECONDS", help="How long to wait.")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def wait(client: Client, words: tuple[str, ...], state: str, timeout: float, form: str) -> int:
    """Wait until a site or instance has reached a state. Exit 0: it has, 7: it has not in time."""
    kind, name = split(words)
    if kind not in ("sites", "instances"):
        exits.usage("only sites and instances have a state to wait for")
    from holdfast_hub.core.convergence import WORST_FIRST

    if state.lower() not in {each.lower() for each in WORST_FIRST}:
        exits.usage(f"no state '{state}'", f"one of {', '.join(sorted(WORST_FIRST))}")
    names = [name] if name else [item["name"] for item in client.get(f"/v1/{kind}")["items"]]
    return wait_for(client, kind, names, state, timeout, form)


def wait_for(client: Client, kind: str, names: Sequence[str], state: str, timeout: float, form: str = "table") -> int:
    """Return DONE once all have the state; raises CliError TIMED_OUT naming the ones that have not."""
    deadline = time.monotonic() + timeout
    left = dict.fromkeys(names, "")
    for _ in _looks(client, deadline):
        for name in list(left):
            item = client.get(f"/v1/{kind}/{segment(name)}")
            left[name] = item["state"]
            if item["state"].lower() == state.lower():
                del left[name]
                if form == "table":
                    click.echo(f"{kind.rstrip('s')}/{name} {item['state']}")
        if not left:
            if form != "table":
                output.emit({"state": state, "names": list(names)}, form)
            return exits.DONE
    raise CliError(
        f"not {state} after {timeout:g} s: " + ", ".join(f"{name} is {now}" for name, now in left.items()),
        exits.TIMED_OUT,
        reason="TimedOut",
        hint=f"holdfast describe {kind.rstrip('s')} {next(iter(left))}",
    )


def _looks(client: Client, deadline: float) -> Any:
    """Yield once at the start and after every event until the deadline (seconds of the monotonic clock)."""
    while (left := deadline - time.monotonic()) > 0:
        for _ in client.events(timeout=left):
            yield
            if time.monotonic() >= deadline:
                return
