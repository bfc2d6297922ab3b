"""An instance's resources: the templates of its definition, filled in with its values."""

from typing import Any, Final

import msgspec

from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.kind_checks import kind_problems
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Path, path_text
from holdfast_protocol.blueprint.evaluation import desired
from holdfast_protocol.blueprint.filling import MAX_BYTES, Failure
from holdfast_protocol.blueprint.node import Node
from holdfast_protocol.blueprint.template import Template
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.wire.labels import is_dns_label, is_dns_subdomain
from holdfast_protocol.wire.names import resource_key
from holdfast_protocol.wire.target import MAX_RESOURCES

MAX_DEPTH: Final = 24  # of a body; a target's own levels come on top, and the wire takes 32


class Rendered(msgspec.Struct, frozen=True):
    """One resource of an instance; `depends_on` are the ids it must follow. `index` counts within a collection."""

    id: str
    body: dict[str, Any]
    depends_on: tuple[str, ...]
    index: int | None = None

    @property
    def label(self) -> str:
        """Return what tells it from every other resource of the instance."""
        return self.id if self.index is None else f"{self.id}-{self.index}"


def render(definition: Definition, instance: Instance, *, checked: bool = True) -> list[Rendered]:
    """Return the resources in the order to make them. Raises InputError with every problem; `checked` false leaves
    out what the kinds say of their specs.

    A value the instance does not give is placed in the instance, anything else in the blueprint. What only a site can
    decide is left out (`program.late_resources` names it).
    """
    return _Rendering(definition, instance, checked).run()


class _Rendering:
    def __init__(self, definition: Definition, instance: Instance, checked: bool) -> None:
        self._definition = definition
        self._instance = instance
        self._checked = checked
        self._problems: list[Problem] = []
        self._owners: dict[str, str] = {}

    def run(self) -> list[Rendered]:
        rendered = []
        late = self._definition.late
        outcomes = desired(self._definition, self._instance.as_schema(), late)
        for node, outcome in zip(self._definition.nodes, outcomes, strict=True):
            for failure in outcome.failures:
                self._add_failure(node, failure)
            for index, body in enumerate(outcome.desired or ()):
                before = len(self._problems)
                self._check(node.template, body)
                if len(self._problems) == before:
                    counted = index if node.kind == "Collection" else None
                    rendered.append(Rendered(node.id, body, tuple(sorted(node.needs)), counted))
        if len(rendered) > MAX_RESOURCES:
            said = (
                f"{self._instance.owner} would be {len(rendered)} resources, the limit of a target is {MAX_RESOURCES}"
            )
            self._problems.append(self._instance.document.problem(("spec",), said))
        if self._problems:
            raise InputError(self._problems)
        return rendered

    def _check(self, template: Template, body: dict[str, Any]) -> None:
        name, namespace = body["metadata"].get("name"), body["metadata"].get("namespace")
        if not isinstance(name, str) or not is_dns_subdomain(name):
            self._add(
                template,
                ("metadata", "name"),
                f"{str(name)[:80]!r} is no name: lower-case letters, digits, inner hyphens and dots, at most 253",
            )
            return
        if namespace is not None and (not isinstance(namespace, str) or not is_dns_label(namespace)):
            self._add(template, ("metadata", "namespace"), f"{str(namespace)[:80]!r} is no namespace")
        if not isinstance(body.get("spec") or {}, dict):
            self._add(template, ("spec",), "spec must be a map")
            return
        if depth(body) > MAX_DEPTH:
            self._add(template, (), f"nested deeper than {MAX_DEPTH}")
        elif len(msgspec.json.encode(body)) > MAX_BYTES:
            self._add(template, (), f"larger than {MAX_BYTES} bytes")
        elif self._checked:
            self._problems += kind_problems(self._definition, self._instance, template, body)
        key = resource_key(body)
        if key in self._owners:
            self._add(template, ("metadata", "name"), f"{key} is also what {self._owners[key]} makes")
        self._owners.setdefault(key, template.id)

    def _add(self, template: Template, path: Path, message: str, *, hint: str = "") -> None:
        text = f"{message} (resource {template.id} of {self._instance.owner})"
        self._problems.append(self._definition.document.problem((*template.path, *path), text, hint=hint))

    def _add_failure(self, node: Node, failure: Failure) -> None:
        if failure.absent and failure.names <= {"schema"}:
            inside = failure.path[1:] if failure.path[0] == "template" else failure.path
            problem = self._instance.document.problem(
                ("spec",),
                f"{failure.message}, and resource {node.id} needs it at {path_text(inside)}",
                hint="give it here; or in the blueprint give a default, or read it with .?field.orValue(...)",
            )
        else:
            text = f"{failure.message} (resource {node.id} of {self._instance.owner})"
            problem = self._definition.document.problem((*node.path, *failure.path), text, hint=failure.hint)
        self._problems.append(problem)


def depth(value: Any) -> int:
    """Return how deep maps and lists are nested in a value."""
    deepest = 0
    stack = [(value, 1)]
    while stack:
        each, depth = stack.pop()
        if isinstance(each, dict | list):
            deepest = max(deepest, depth)
            stack.extend((inside, depth + 1) for inside in (each.values() if isinstance(each, dict) else each))
    return deepest
