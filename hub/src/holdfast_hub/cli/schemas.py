"""Schemas by name: of the kinds and documents this version knows, and of the instances of a hub's blueprints."""

import difflib
from typing import Any

from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import NOT_FOUND, UNREACHABLE, CliError

Schema = dict[str, Any]


def known() -> dict[str, str]:
    """Return the names there are without a hub, by their lower-case form."""
    from holdfast_hub.blueprint.written import DOCUMENTS
    from holdfast_protocol.kinds.table import KINDS

    return {name.lower(): name for name in (*DOCUMENTS, *KINDS)}


def schema_of(client: Client, name: str) -> Schema:
    """Return the JSON Schema of a kind's documents. Raises CliError with near names."""
    names = known()
    if name.lower() in names:
        from holdfast_hub.operations.schemas import own_schema

        return own_schema(names[name.lower()])
    kinds: dict[str, str] = {}
    unreachable = ""
    try:
        kinds = {each["kind"]: each["name"] for each in client.get("/v1/blueprints")["items"]}
    except CliError as error:
        if error.code != UNREACHABLE:
            raise
        unreachable = "; no hub answers, so its blueprints' kinds are not known"
    for kind, blueprint in kinds.items():
        if kind.lower() == name.lower():
            return instance_schema(client, blueprint)
    near = difflib.get_close_matches(name, [*names.values(), *kinds], 3, 0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join([*names.values(), *kinds])}"
    raise CliError(f"no kind {name[:80]!r}{unreachable}", NOT_FOUND, reason="NotFound", hint=hint)


def instance_schema(client: Client, blueprint: str, form: str = "json") -> Schema:
    """Return the schema of a blueprint's instances, as JSON Schema or as OpenAPI."""
    answer: Schema = client.get(f"/v1/blueprints/{blueprint}/schema", form=form)
    return answer
