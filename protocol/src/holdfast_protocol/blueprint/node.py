"""A resource of a blueprint as its author wrote it: template or reference, conditions, loops; checked and compiled.

The words are kro's: `includeWhen` says whether it is there, `readyWhen` when it counts as ready, `forEach` makes a
collection of it, `externalRef` only reads what somebody else made.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.cel import Environment, Expression, ExpressionError
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.expressions import ScanError, scan
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.template import TEXT_PATHS, Template, compile_template

EACH: Final = "each"  # an item of a collection, in its readyWhen
MAX_DIMENSIONS: Final = 10
MAX_CONDITIONS: Final = 50  # of one kind, of one resource
KEYS: Final = ("id", "template", "externalRef", "includeWhen", "readyWhen", "forEach")
OBSERVED: Final = "status"  # the field of a resource nobody but its site knows

Entry = tuple[dict[str, Any], Path]  # a resource as written, and where
Kind = Literal["Resource", "Collection", "External", "ExternalCollection"]


class Dimension(msgspec.Struct, frozen=True):
    """One loop of a collection: an item of the list goes by this name in the template."""

    name: str
    items: Expression


class Node(msgspec.Struct, frozen=True):
    """One resource of a blueprint. `environment` is what its template is evaluated in."""

    id: str
    kind: Kind
    path: Path  # of the entry in the blueprint's document
    template: Template
    environment: Environment
    include: tuple[Expression, ...]
    ready: tuple[Expression, ...]
    dimensions: tuple[Dimension, ...]
    needs: frozenset[str]  # ids it comes after

    @property
    def is_list(self) -> bool:
        return self.kind in ("Collection", "ExternalCollection")

    @property
    def is_external(self) -> bool:
        return self.kind in ("External", "ExternalCollection")

    def observing(self) -> Iterator[tuple[Path, str]]:
        """Yield what cannot be known before a site has looked, as (path below the entry, why)."""
        if self.is_external:
            yield ("externalRef",), "externalRef reads what is at a site"
        expressions: list[tuple[Path, Expression]]
        expressions = [(("includeWhen", index), each) for index, each in enumerate(self.include)]
        expressions += [(("forEach", index), each.items) for index, each in enumerate(self.dimensions)]
        expressions += [
            (("template", *field.path), each) for field in self.template.fields for each in field.expressions
        ]
        made = {*self.needs, *(each.name for each in self.dimensions if each.items.uses.names & self.needs)}
        for path, expression in expressions:
            uses = expression.uses
            direct = {name for name, field in uses.fields if field == OBSERVED}
            for name in sorted(uses.names & made):
                # a whole resource may be read through a loop or a variable: any `status` may then be its own
                if name in direct or ((name, "") in uses.fields and OBSERVED in uses.selected):
                    yield (
                        path,
                        f"${{{expression.source[:200]}}} reads the {OBSERVED} of {name}, which only a site knows",
                    )
                    break


def list_ids(entries: Mapping[str, Entry]) -> frozenset[str]:
    """Return the ids that stand for a list of objects in expressions."""
    return frozenset(each for each, (entry, _) in entries.items() if entry.get("forEach") or _selects(entry))


def compile_node(
    node_id: str, entry: Entry, ids: frozenset[str], environment: Environment, problems: Problems, *, cluster: bool
) -> Node | None:
    """Return a resource, or None with the reasons in `problems`. `cluster`: the blueprint's scope is Cluster."""
    return _Compiling(node_id, entry, ids, environment, problems, cluster).node()


class _Compiling:
    def __init__(
        self,
        node_id: str,
        entry: Entry,
        ids: frozenset[str],
        environment: Environment,
        problems: Problems,
        cluster: bool,
    ) -> None:
        self._id = node_id
        self._entry, self._path = entry
        self._ids = ids
        self._environment = environment
        self._problems = problems
        self._cluster = cluster

    def node(self) -> Node | None:
        before = len(self._problems.errors)
        dimensions = tuple(self._dimensions())
        environment = self._environment
        if dimensions:
            environment = environment.with_items({each.name: each.items for each in dimensions})
        include = tuple(self._conditions("includeWhen", self._environment))
        ready = tuple(self._conditions("readyWhen", _each_environment() if dimensions else self._environment))
        allowed = {EACH} if dimensions else {self._id}
        for index, each in enumerate(ready):
            if not each.uses.names <= allowed:
                other = ", ".join(sorted(each.uses.names - allowed))
                self._add(("readyWhen", index), f"readyWhen may only read {min(allowed)}, and reads {other}")
        template = self._template(environment, {each.name for each in dimensions})
        if template is None or len(self._problems.errors) > before:
            return None
        needs = {name for each in include for name in each.uses.names}
        needs |= {name for each in dimensions for name in each.items.uses.names} | template.needs
        needs -= {"schema", *(each.name for each in dimensions)}
        if self._id in needs:
            self._add(("template",) if self._id in template.needs else (), f"{self._id} refers to itself")
            return None
        return Node(
            self._id,
            self._kind(),
            self._path,
            template,
            environment,
            include,
            ready,
            dimensions,
            frozenset(needs),
        )

    def _kind(self) -> Kind:
        if "externalRef" in self._entry:
            return "ExternalCollection" if _selects(self._entry) else "External"
        return "Collection" if self._entry.get("forEach") else "Resource"

    def _template(self, environment: Environment, iterators: set[str]) -> Template | None:
        entry, key = self._entry, "externalRef" if "externalRef" in self._entry else "template"
        if key not in entry:
            self._add((), "a resource needs a template")
            return None
        if key == "externalRef":
            for other in ("template", "forEach"):
                if entry.get(other):
                    self._add((other,), f"{other} cannot stand beside externalRef", at_key=True)
            self._check_reference(entry[key])
        template = compile_template(
            self._id,
            entry[key],
            environment,
            self._problems,
            (*self._path, key),
            cluster=self._cluster and not _selects(entry),
            named=not _selects(entry),
        )
        if template is not None:
            self._check_identity(template, iterators)
        return template

    def _check_reference(self, value: Any) -> None:
        if not isinstance(value, dict):
            return  # said of the template
        metadata = value.get("metadata")
        for path, inside, known in (
            (("externalRef",), value, ("apiVersion", "kind", "metadata")),
            (("externalRef", "metadata"), metadata, ("name", "namespace", "selector")),
        ):
            for key in inside if isinstance(inside, dict) else ():
                if key not in known:
                    self._add(
                        (*path, key), f"unknown field {key[:80]!r}", hint=f"known: {', '.join(known)}", at_key=True
                    )
        if isinstance(metadata, dict) and "selector" in metadata:
            if "name" in metadata:
                self._add(("externalRef", "metadata", "name"), "name and selector exclude each other", at_key=True)
            if not isinstance(metadata["selector"], dict):
                self._add(("externalRef", "metadata", "selector"), "a selector is a map")

    def _check_identity(self, template: Template, iterators: set[str]) -> None:
        used: set[str] = set()
        for field in template.fields:
            found = {name for each in field.expressions for name in each.uses.names}
            if field.path == ("metadata", "name") or (
                field.path in TEXT_PATHS and template.kind not in names.CLUSTER_KINDS
            ):
                used |= found
        for name in sorted(iterators - used):
            self._add(("template", "metadata"), f"metadata.name must use {name}: each item needs a name of its own")

    def _dimensions(self) -> Iterator[Dimension]:
        value = self._entry.get("forEach") or []
        if not isinstance(value, list):
            self._add(("forEach",), "forEach is a list of maps with one name and its list each", hint="- zone: ${...}")
            return
        if len(value) > MAX_DIMENSIONS:
            self._add(("forEach",), f"more than {MAX_DIMENSIONS} loops")
            return
        seen: set[str] = set()
        for index, each in enumerate(value):
            if not isinstance(each, dict) or len(each) != 1:
                self._add(("forEach", index), "a loop is a map of one name and its list")
                continue
            ((name, text),) = each.items()
            path: Path = ("forEach", index, name)
            reason = self._name_problem(name, seen)
            seen.add(name)
            if reason:
                self._add(path, reason, at_key=True)
                continue
            items = self._standalone(text, path, self._environment)
            if items is not None and not items.is_list:
                self._add(
                    path, f"${{{items.source[:200]}}} is {items.type}, and forEach takes a list", hint="x.map(i, i)"
                )
            elif items is not None:
                yield Dimension(name, items)

    def _name_problem(self, name: str, seen: set[str]) -> str:
        if not names.is_id(name):
            return "a loop's name is in lower camel case: zone"
        if name in names.RESERVED:
            return f"{name} is a reserved word"
        if name in self._ids:
            return f"{name} is already a resource"
        return f"{name} stands twice" if name in seen else ""

    def _conditions(self, key: str, environment: Environment) -> Iterator[Expression]:
        value = self._entry.get(key)
        if value is None:
            return
        if not isinstance(value, list) or len(value) > MAX_CONDITIONS:
            self._add((key,), f"{key} is a list of at most {MAX_CONDITIONS} expressions", at_key=True)
            return
        for index, text in enumerate(value):
            expression = self._standalone(text, (key, index), environment)
            if expression is None:
                continue
            if expression.type not in ("bool", "optional_type(bool)"):
                said = f"${{{expression.source[:200]}}} is {expression.type}, and {key} takes true or false"
                self._add((key, index), said, hint="compare it: == true" if "dyn" in expression.type else "")
                continue
            yield expression

    def _standalone(self, text: Any, path: Path, environment: Environment) -> Expression | None:
        """Return the one expression a text must be; omit() has no place in it."""
        return compile_standalone(text, environment, self._problems, (*self._path, *path))

    def _add(self, path: Path, message: str, *, hint: str = "", at_key: bool = False) -> None:
        self._problems.add((*self._path, *path), message, hint=hint, at_key=at_key)


def compile_standalone(text: Any, environment: Environment, problems: Problems, path: Path) -> Expression | None:
    """Return the expression a text is exactly, or None with the reason in `problems`."""
    try:
        scanned = scan(text) if isinstance(text, str) else None
    except ScanError as error:
        problems.add(path, str(error), offset=error.offset)
        return None
    if scanned is None or scanned.kind != "expression":
        problems.add(path, "must be exactly one expression: ${...}")
        return None
    (part,) = scanned.parts
    try:
        expression = environment.compile(part.source)
    except ExpressionError as error:
        message = f"{error.message} in ${{{part.source[:200]}}}"
        problems.add(path, message, hint=error.hint, offset=part.offset + max(error.offset, 0))
        return None
    if expression.omits:
        problems.add(path, "omit() is for values in a template")
        return None
    return expression


def _selects(entry: dict[str, Any]) -> bool:
    reference = entry.get("externalRef")
    metadata = reference.get("metadata") if isinstance(reference, dict) else None
    return isinstance(metadata, dict) and "selector" in metadata


@cache
def _each_environment() -> Environment:
    return Environment({}, [EACH])
