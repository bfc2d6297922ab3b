"""What an instance leaves to its sites: the program they evaluate, and the resources they decide themselves."""

from collections.abc import Iterable
from typing import Any, Final

from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.render import depth
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.evaluation import desired
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire import digest as digests
from holdfast_protocol.wire import program, strict
from holdfast_protocol.wire.program import Late, Program, ProgramInstance

MAX_DEPTH: Final = 26  # of a definition and of values; a target's own levels come on top, and the wire takes 32
_EXTERNAL: Final = ("External", "ExternalCollection")


def late_resources(definition: Definition, instance: Instance) -> tuple[Late, ...]:
    """Return what only a site can decide of an instance, in the order to make it; what its values leave out is not."""
    late = definition.late
    if not late:
        return ()
    outcomes = desired(definition, instance.as_schema(), late)
    return tuple(
        Late(node.id, node.template.kind, late[node.id], external=node.is_external)
        for node, outcome in zip(definition.nodes, outcomes, strict=True)
        if node.id in late and outcome.state != "skipped"
    )


def program_of(definition: Definition, instance: Instance, revision: int) -> Program | None:
    """Return what a site evaluates for an instance; None when everything is said by its resources. Raises InputError."""
    late = late_resources(definition, instance)
    if not late and not definition.is_watched:
        return None
    document = definition.document
    value = {
        "apiVersion": document.api_version,
        "kind": document.kind,
        "metadata": {"name": definition.name},
        "spec": document.value["spec"],
    }
    schema = instance.as_schema()
    for source, part in ((document, value), (instance.document, schema)):
        said = ""
        if depth(part) > MAX_DEPTH:
            said = f"nested deeper than {MAX_DEPTH}"
        elif len(strict.encode(part)) > program.MAX_BYTES:
            said = f"larger than {program.MAX_BYTES} bytes as JSON"
        if said:
            hint = "without readyWhen, status and what reads a site's state, sites need not have it"
            raise InputError([source.problem(("spec",), f"sites must evaluate {instance.owner}: {said}", hint=hint)])
    return Program(definition.name, revision, value, (ProgramInstance(instance.owner, schema, late),))


def shown(programs: Iterable[Program]) -> dict[str, dict[str, Any]]:
    """Return by instance what its site evaluates, for people: entries as written, values (which may be secret) as a digest."""
    found: dict[str, dict[str, Any]] = {}
    for each in programs:
        spec = each.definition["spec"]
        entries = {entry["id"]: entry for entry in spec.get("resources") or ()}
        status = spec["schema"].get("status")
        for instance in each.instances:
            late = {one.id: {"why": one.why, **_masked(entries[one.id])} for one in instance.late}
            ready = {name: entry["readyWhen"] for name, entry in entries.items() if entry.get("readyWhen")}
            parts = {"decidedAtTheSite": late, "readyWhen": ready, "status": status}
            values = digests.digest(instance.schema)[:16]
            found[instance.owner] = {**{key: part for key, part in parts.items() if part}, "values": values}
    return found


def _masked(entry: dict[str, Any]) -> dict[str, Any]:
    template = entry.get("template")
    if not isinstance(template, dict) or template.get("kind") != "Secret":
        return entry
    return {**entry, "template": {key: template[key] for key in ("apiVersion", "kind", "metadata") if key in template}}
