"""The Bridges in a file against what their brokers take, with no hub: `bridge lint`. Pure."""

from typing import Any

from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.kinds import bridge, hub_bridge, table
from holdfast_protocol.wire.flaws import Flaw


def linted(text: str, file: str) -> list[Problem]:
    """Return what is wrong with each Bridge of a file, and what its author should know, each with its place; a blueprint's
    are those of its templates that need no values. Raises InputError for a file without any."""
    from holdfast_protocol.blueprint.documents import read_documents

    documents = read_documents(text, file)
    found: list[Problem] = []
    count = 0
    for document in documents:
        for path, body in _bodies(document.value):
            count += 1
            flaws = [flaw for flaw in _flaws(body) if not path or not _is_filled_in(body, flaw.path)]
            found += [_problem(document, path, flaw) for flaw in flaws]
    if not count:
        raise InputError([Problem("no document of kind Bridge", file=file)])
    return found


def _bodies(value: dict[str, Any]) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    if value.get("kind") == bridge.KIND:
        return [((), value)]
    spec = value.get("spec")
    resources = spec.get("resources") if isinstance(spec, dict) else None
    bodies: list[tuple[tuple[str | int, ...], dict[str, Any]]] = []
    for number, each in enumerate(resources if isinstance(resources, list) else ()):
        template = each.get("template") if isinstance(each, dict) else None
        if isinstance(template, dict) and template.get("kind") == bridge.KIND:
            bodies.append((("spec", "resources", number, "template"), template))
    return bodies


def _is_filled_in(body: Any, path: tuple[str | int, ...]) -> bool:
    """Return whether what stands at a place of a template is an expression: nobody knows yet what it will say."""
    for step in path:
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
    return isinstance(body, str) and "${" in body


def _flaws(body: dict[str, Any]) -> list[Flaw]:
    spec = body.get("spec")
    if isinstance(spec, dict) and spec.get("run") == "hub":
        plain = {key: each for key, each in spec.items() if key != "placement"}
        return [Flaw(("spec", *each.path), each.message, each.hint, each.warning) for each in hub_bridge.flaws(plain)]
    metadata = body.get("metadata")
    named = metadata if isinstance(metadata, dict) and isinstance(metadata.get("name"), str) else {"name": "bridge"}
    return list(table.check({**body, "metadata": named}))


def _problem(document: Any, path: tuple[str | int, ...], flaw: Flaw) -> Problem:
    found: Problem = document.problem((*path, *flaw.path), flaw.message, hint=flaw.hint)
    if not flaw.warning:
        return found
    return Problem(
        found.message, found.file, found.line, found.column, found.path, found.resource, found.hint, "warning"
    )
