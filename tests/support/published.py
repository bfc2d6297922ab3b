"""The generated parts of docs/: the tables of topics, routes and options, the AsyncAPI document and the JSON Schemas, from
the code.

`python -m support.published` (with PYTHONPATH=tests) writes them; tests/rules holds them equal.
"""

import argparse
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from holdfast_edge.cli.main import command_line
from holdfast_hub.api.routes import TABLE
from holdfast_hub.blueprint.written import DOCUMENTS
from holdfast_hub.cli.main import cli
from holdfast_hub.operations.schemas import own_schema
from holdfast_protocol.kinds.table import KINDS
from holdfast_protocol.wire import messages, target, topics

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- generated: {} -->\n", "<!-- end -->\n"
PAYLOADS: dict[str, type] = {
    "target": target.Target,
    "beacon": target.Beacon,
    "presence": messages.Presence,
    "hello": messages.Hello,
    "status": messages.Status,
    "dn": messages.Down,
    "hub": messages.HubState,
}


def topic_table() -> str:
    rows = ["| topic | who → whom | QoS | retained | limit | what |", "|---|---|---|---|---|---|"]
    for channel in topics.TABLE.values():
        size = f"{channel.limit // topics.KiB} KiB"
        rows.append(
            f"| `{topics.ROOT}/{channel.pattern}` | {channel.publisher} → {channel.reader} | {channel.qos} "
            f"| {'yes' if channel.retain else 'no'} | {size} | {channel.what} |"
        )
    return "\n".join(rows) + "\n"


def route_table() -> str:
    rows = ["| method | path | takes | what |", "|---|---|---|---|"]
    rows += [f"| {method} | `{path}` | {_taken(handler)} | {handler.__doc__} |" for method, path, handler in TABLE]
    return "\n".join([*rows, "| GET | `/v1/events` | | Server-sent events: something changed. |"]) + "\n"


def _taken(handler: Callable[..., Any]) -> str:
    """Return the words of a handler's query or body, as its code reads them; those it needs in bold."""
    found = re.search(r"\b(query|body)\(request, ([\w.]+)\)", inspect.getsource(handler))
    if found is None:
        return ""
    shape = eval(found[2], handler.__globals__)
    words = [f"**{each.encode_name}**" if each.required else each.encode_name for each in msgspec.structs.fields(shape)]
    return f"{found[1]}: {', '.join(words)}"


def commands(group: click.Group, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Return every command below a group, by its words."""
    found: dict[tuple[str, ...], click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= commands(command, (*words, name))
        else:
            found[(*words, name)] = command
    return found


def hub_options() -> str:
    """Return a section for every command of `holdfast`, with each of its options but -o and --help."""
    parts = []
    for words, command in commands(cli).items():
        rows = [
            (", ".join(f"`{each}`" for each in option.opts), option.help or "")
            for option in command.params
            if isinstance(option, click.Option) and "-o" not in option.opts
        ]
        context = click.Context(command)
        takes = [
            each
            for part in command.params
            if isinstance(part, click.Argument)
            for each in part.get_usage_pieces(context)
        ]
        parts.append(_section("holdfast", (*words, *takes), command.help or "", rows))
    return "\n".join(parts)


def edge_options() -> str:
    """Return the same of `holdfast-edge`, without --config."""
    (verbs,) = (each for each in command_line()._actions if isinstance(each, argparse._SubParsersAction))
    parts = []
    for name, parser in verbs.choices.items():
        rows = [
            (_cell(", ".join(f"`{each}`" for each in action.option_strings or [_metavar(action)])), action.help or "")
            for action in parser._actions
            if not {"-h", "-o", "--config"} & set(action.option_strings)
        ]
        parts.append(_section("holdfast-edge", (name,), parser.description or "", rows))
    return "\n".join(parts)


def _section(program: str, words: tuple[str, ...], what: str, rows: list[tuple[str, str]]) -> str:
    table = (
        ["", "| option | what |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows)] if rows else []
    )
    return "\n".join([f"### {program} {' '.join(words)}", "", " ".join(what.split()), *table]) + "\n"


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or ", ".join(action.choices or ()))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of every channel with a JSON payload."""
    schemas, components = msgspec.json.schema_components(
        list(PAYLOADS.values()), ref_template="#/components/schemas/{name}"
    )
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    bodies: dict[str, Any] = {}
    for name, channel in topics.TABLE.items():
        levels = channel.pattern.split("/")
        entry: dict[str, Any] = {"address": f"{topics.ROOT}/{channel.pattern}", "description": channel.what}
        parameters = {level.strip("{}"): {} for level in levels if level.startswith("{")}
        if parameters:
            entry["parameters"] = parameters
        if name in PAYLOADS:
            schema = dict(zip(PAYLOADS, schemas, strict=True))[name]
            bodies[name] = {"contentType": "application/json", "payload": schema}
            entry["messages"] = {name: {"$ref": f"#/components/messages/{name}"}}
        channels[name] = entry
        operations[f"publish-{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holdfast wire protocol",
            "version": "1",
            "description": "Payloads stand inside DSSE envelopes, presence apart (docs/protocol.md).",
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": bodies, "schemas": components},
    }


def with_part(text: str, name: str, part: str) -> str:
    """Return `text` with its generated part `name` replaced."""
    head, found, rest = text.partition(BEGIN.format(name))
    if not found:
        raise ValueError(f"no generated part {name}")
    return head + found + part + END + rest.partition(END)[2]


def documents() -> dict[Path, str]:
    """Return every generated file as it should be."""
    protocol, api = DOCS / "protocol.md", DOCS / "api.md"
    options = DOCS / "options.md"
    told = with_part(with_part(options.read_text(), "holdfast", hub_options()), "holdfast-edge", edge_options())
    return {
        options: told,
        api: with_part(api.read_text(), "routes", route_table()),
        protocol: with_part(protocol.read_text(), "topics", topic_table()),
        DOCS / "asyncapi.json": json.dumps(asyncapi(), indent=1, ensure_ascii=False) + "\n",
        **{
            DOCS / "schemas" / f"{name}.json": json.dumps(own_schema(name), indent=1, ensure_ascii=False) + "\n"
            for name in (*DOCUMENTS, *KINDS)
        },
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
