"""An instance as it is stored: checked, and rendered into the resources its sites are told of."""

import msgspec

from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.pin import read_pin
from holdfast_hub.blueprint.program import program_of
from holdfast_hub.blueprint.render import render
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Document, path_text, read_documents
from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.table import KINDS
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey, resource_key
from holdfast_protocol.wire.program import Program
from holdfast_protocol.wire.target import Resource, resource


def instance_row(
    held: InstanceRow | None,
    document: Document,
    instance: Instance,
    found: tuple[BlueprintRow, Definition],
    *,
    author: str,
    at: int,
) -> InstanceRow:
    """Return an instance checked and rendered as it is stored; `held` is what stands there now. Raises InputError."""
    blueprint, definition = found
    resources = rendered_resources(definition, instance, blueprint.revision)
    program = program_of(definition, instance, blueprint.revision)
    revision = blueprint.revision
    if held is not None and (resources, program) == _at_revision(held, revision):
        # nothing a site would see: keep what it was told
        resources, program, revision = held.resources, held.program, held.revision
    return InstanceRow(
        instance.kind,
        instance.name,
        blueprint.name,
        digest_bytes(document.text.encode()),
        document.text,
        document.file,
        lines_before(document),
        revision,
        instance.values,
        instance.placement,
        resources,
        author,
        at,
        pin=read_pin(document),
        program=program,
    )


def rendered_resources(definition: Definition, instance: Instance, revision: int) -> tuple[Resource, ...]:
    """Return the resources an instance becomes at each of its sites. Raises InputError."""
    rendered = render(definition, instance)
    keys: dict[str, list[ResourceKey]] = {}
    for each in rendered:
        keys.setdefault(each.id, []).append(resource_key(each.body))
    return tuple(
        resource(
            each.body,
            id=each.id,
            instance=instance.owner,
            blueprint=definition.name,
            revision=revision,
            depends_on=tuple(key for name in each.depends_on for key in keys.get(name, ())),
        )
        for each in rendered
    )


def advice(document: Document, row: InstanceRow) -> list[Problem]:
    """Return what the kinds of an instance's resources have to say of specs that are taken."""
    return [
        document.problem(("spec",), f"{each.key}: {path_text(flaw.path)}: {flaw.message}", hint=flaw.hint)
        for each in row.resources
        if (kind := KINDS.get(each.kind)) is not None and kind.advise is not None
        for flaw in kind.check(each.body)
        if flaw.warning
    ]


def lines_before(document: Document) -> int:
    """Return how many lines of its file come before a document's own text."""
    (alone,) = read_documents(document.text)
    return document.place()[0] - alone.place()[0]


def _at_revision(held: InstanceRow, revision: int) -> tuple[tuple[Resource, ...], Program | None]:
    resources = tuple(msgspec.structs.replace(each, revision=revision) for each in held.resources)
    return resources, msgspec.structs.replace(held.program, revision=revision) if held.program else None
