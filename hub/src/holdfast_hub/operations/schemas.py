"""Schemas: of the documents this version knows, and of the instances of stored blueprints."""

from typing import Any, Final

from holdfast_hub.blueprint import json_schema
from holdfast_hub.blueprint.json_schema import Schema, Words
from holdfast_hub.blueprint.written import DOCUMENTS, Placement
from holdfast_hub.operations.field_docs import field_docs, shape_doc
from holdfast_hub.operations.hub import Hub
from holdfast_protocol.blueprint.names import API_VERSION
from holdfast_protocol.kinds.table import KINDS

WORDS: Final = Words(shape_doc, field_docs)


def own_schema(name: str) -> Schema:
    """Return the JSON Schema of a kind of resources, or of Holdfast's own documents. KeyError for others."""
    if name == "Blueprint":
        return json_schema.blueprint_schema(DOCUMENTS[name], KINDS.values(), WORDS)
    if name in DOCUMENTS:
        return json_schema.object_schema(name, API_VERSION, DOCUMENTS[name], WORDS)
    return json_schema.document_schema(KINDS[name], WORDS)


async def blueprint_schema(hub: Hub, name: str, *, openapi: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of a stored blueprint's instances, or their spec as OpenAPI. Raises NotFoundError."""

    def reading(_: object) -> dict[str, Any]:
        definition = hub.fleet.definition(hub.fleet.blueprint(name))
        return definition.schema if openapi else json_schema.instance_schema(definition, Placement, WORDS)

    return await hub.store.read(reading)
