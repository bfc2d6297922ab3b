"""wait: the hub's events instead of polling, and a look again at each."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.exits import CliError
from holdfast_hub.cli.objects import split
from holdfast_hub.cli.spans import patience


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="TYPE/NAME")
@click.option("--for", "state", default="Converged", show_default=True, metavar="STATE", help="The state to wait for.")
@click.option("--timeout", type=patience, default="60", metavar="TIME", help="How long: 90s, 30m (default 60s).")
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
    left: dict[str, Mapping[str, Any]] = {name: {} for name in names}
    for _ in _looks(client, deadline):
        for name, item in _items(client, kind, list(left)):
            left[name] = item
            if item["state"].lower() == state.lower():
                del left[name]
                if form == "table":
                    click.echo(f"{kind.rstrip('s')}/{name} {item['state']}")
        if not left:
            if form != "table":
                output.emit({"state": state, "names": list(names)}, form)
            return exits.DONE
    raise CliError(
        f"not {state} after {timeout:g} s: {_standing(left)}",
        exits.TIMED_OUT,
        reason="TimedOut",
        hint=f"holdfast describe {kind.rstrip('s')} {next(iter(left))}",
    )


def _items(client: Client, kind: str, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each name with its object, of many sites by one question; raises CliError NOT_FOUND for one that is not there."""
    listed = {}
    if kind == "sites" and len(names) > 1:
        listed = {item["name"]: item for item in client.get("/v1/sites")["items"]}
    for name in names:
        yield name, listed.get(name) or client.get(f"/v1/{kind}/{segment(name)}")


def _standing(left: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how many are in which state, naming the first of each; of one alone also why."""
    said = []
    for state in dict.fromkeys(item["state"] for item in left.values()):
        those = [name for name, item in left.items() if item["state"] == state]
        why = left[those[0]].get("message") if len(left) == 1 else ""
        said.append(f"{output.some(those)} {'is' if len(those) == 1 else 'are'} {state}" + (f": {why}" if why else ""))
    return "; ".join(said)


def _looks(client: Client, deadline: float) -> Iterator[None]:
    """Yield once at the start and after every event until the deadline (seconds of the monotonic clock)."""
    yield
    while time.monotonic() < deadline:
        for _ in client.events(deadline):
            yield
            if time.monotonic() >= deadline:
                return
