"""The generated parts of docs/: the tables of topics and routes, the AsyncAPI document and the JSON Schemas, from the code.

`python -m support.published` (with PYTHONPATH=tests) writes them; tests/rules holds them equal.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from holdfast_hub.api.routes import TABLE
from holdfast_hub.blueprint.written import DOCUMENTS
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
    rows = ["| method | path | what |", "|---|---|---|"]
    rows += [f"| {method} | `{path}` | {handler.__doc__} |" for method, path, handler in TABLE]
    return "\n".join([*rows, "| GET | `/v1/events` | Server-sent events: something changed. |"]) + "\n"


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
    return {
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
