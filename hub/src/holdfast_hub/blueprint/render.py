"""An instance's resources: the templates of its definition, filled in with its values."""

from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import names
from holdfast_hub.blueprint.cel import Bindings, Expression, ExpressionError
from holdfast_hub.blueprint.definition import Definition
from holdfast_hub.blueprint.documents import Path, path_text
from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.template import Field, Template
from holdfast_hub.core.labels import is_dns_label, is_dns_subdomain
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.wire.names import resource_key

MAX_DEPTH: Final = 24  # of a body; a target's own levels come on top, and the wire takes 32
MAX_BYTES: Final = 1024 * 1024  # of a body as JSON


class Rendered(msgspec.Struct, frozen=True):
    """One resource of an instance; `depends_on` are the ids it must follow."""

    id: str
    body: dict[str, Any]
    depends_on: tuple[str, ...]


def render(definition: Definition, instance: Instance) -> list[Rendered]:
    """Return the resources in the order to make them. Raises InputError with every problem.

    A value the instance does not give is placed in the instance, anything else in the blueprint.
    """
    return _Rendering(definition, instance).run()


class _Rendering:
    """One pass: `_known` holds the results of expressions on the schema alone, which many fields share."""

    def __init__(self, definition: Definition, instance: Instance) -> None:
        self._definition = definition
        self._instance = instance
        self._schema = instance.as_schema()
        self._namespace = instance.metadata.get("namespace")
        self._shared = definition.environment.bind({"schema": self._schema})
        self._bodies: dict[str, dict[str, Any]] = {}
        self._known: dict[str, Any] = {}
        self._problems: list[Problem] = []
        self._owners: dict[str, str] = {}

    def run(self) -> list[Rendered]:
        rendered = []
        for template in self._definition.templates:
            if not template.needs <= self._bodies.keys():
                continue  # what it needs has a problem of its own
            before = len(self._problems)
            body = self._body(template)
            if len(self._problems) == before:
                self._check(template, body)
            if len(self._problems) == before:
                self._bodies[template.id] = body
                rendered.append(Rendered(template.id, body, tuple(sorted(template.needs))))
        if self._problems:
            raise InputError(self._problems)
        return rendered

    def _body(self, template: Template) -> dict[str, Any]:
        bindings = self._shared
        if template.needs:
            others = {each: self._bodies[each] for each in template.needs}
            bindings = self._definition.environment.bind({"schema": self._schema, **others})
        body = template.body()
        for field in template.fields:
            try:
                _put(body, field.path, self._value(field, bindings))
            except ExpressionError as error:
                if error.absent:
                    self._add_absent(template, field.path, error.message)
                else:
                    self._add(template, field.path, error.message, hint=error.hint)
        if self._namespace and template.kind not in names.CLUSTER_KINDS:
            body["metadata"].setdefault("namespace", self._namespace)
        return body

    def _value(self, field: Field, bindings: Bindings) -> Any:
        if field.is_whole:
            return self._evaluate(field.expressions[0], bindings)
        texts = []
        for piece in field.pieces:
            text = piece if isinstance(piece, str) else self._evaluate(piece, bindings)
            if not isinstance(text, str):
                source = piece.source if isinstance(piece, Expression) else ""
                raise ExpressionError(
                    f"${{{source[:200]}}} is {_type_name(text)}, and a text takes only text", hint="string(x)"
                )
            if field.one_line and isinstance(piece, Expression):
                _check_one_line(text, piece)
            texts.append(text)
        return "".join(texts)

    def _evaluate(self, expression: Expression, bindings: Bindings) -> Any:
        if expression.uses.names <= {"schema"}:
            if expression.source not in self._known:
                value = expression.evaluate(bindings)
                if isinstance(value, dict | list):
                    return value  # not shared: each body owns its own
                self._known[expression.source] = value
            return self._known[expression.source]
        return expression.evaluate(bindings)

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
        if _depth(body) > MAX_DEPTH:
            self._add(template, (), f"nested deeper than {MAX_DEPTH}")
        elif len(msgspec.json.encode(body)) > MAX_BYTES:
            self._add(template, (), f"larger than {MAX_BYTES} bytes")
        key = resource_key(body)
        if key in self._owners:
            self._add(template, ("metadata", "name"), f"{key} is also what {self._owners[key]} makes")
        self._owners.setdefault(key, template.id)

    def _add(self, template: Template, path: Path, message: str, *, hint: str = "") -> None:
        text = f"{message} (resource {template.id} of {self._instance.owner})"
        self._problems.append(self._definition.document.problem((*template.path, *path), text, hint=hint))

    def _add_absent(self, template: Template, path: Path, message: str) -> None:
        self._problems.append(
            self._instance.document.problem(
                ("spec",),
                f"{message}, and resource {template.id} needs it at {path_text(path)}",
                hint="give it here; or in the blueprint give a default, or read it with .?field.orValue(...)",
            )
        )


def _put(body: dict[str, Any], path: Path, value: Any) -> None:
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value


def _check_one_line(text: str, expression: Expression) -> None:
    if names.has_control(text) or "\n" in text or text.endswith("\\"):
        raise ExpressionError(
            f"${{{expression.source[:200]}}} would add lines to the unit",
            hint="values put into a unit are one line each, without control characters or a backslash at the end",
        )


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "a map"}[type(value)]


def _depth(value: Any) -> int:
    deepest = 0
    stack = [(value, 1)]
    while stack:
        each, depth = stack.pop()
        if isinstance(each, dict | list):
            deepest = max(deepest, depth)
            stack.extend((inside, depth + 1) for inside in (each.values() if isinstance(each, dict) else each))
    return deepest
