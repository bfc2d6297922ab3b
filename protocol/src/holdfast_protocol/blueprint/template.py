"""A resource's template: its body with the places where values go, compiled once and filled in many times."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint.cel import Environment, Expression, ExpressionError
from holdfast_protocol.blueprint.documents import Path, path_text
from holdfast_protocol.blueprint.expressions import Part, ScanError, scan
from holdfast_protocol.blueprint.names import CLUSTER_KINDS, has_control
from holdfast_protocol.blueprint.problems import Problems

RESERVED_PREFIXES: Final = ("kro.run/", "internal.kro.run/")
MAX_FIELDS: Final = 2_000  # with expressions, in one template
TEXT_PATHS: Final = frozenset({("metadata", "name"), ("metadata", "namespace")})


class Field(msgspec.Struct, frozen=True):
    """Where a value goes: one expression is the value itself, anything else is text joined from its pieces."""

    path: Path  # inside the body
    pieces: tuple[str | Expression, ...]
    one_line: bool = False  # values may not add lines: the text is a unit file

    @property
    def is_whole(self) -> bool:
        return len(self.pieces) == 1

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Expression))


class Template(msgspec.Struct, frozen=True):
    """One resource of a blueprint. `skeleton` is the body as JSON, with plain text where fields go."""

    id: str
    path: Path  # of the template in the blueprint's document
    kind: str
    skeleton: bytes
    fields: tuple[Field, ...]
    needs: frozenset[str]  # names its expressions use, but for `schema`
    omits: bool  # omit() is somewhere in it

    def body(self) -> dict[str, Any]:
        """Return a fresh body, fields not yet filled in."""
        fresh: dict[str, Any] = msgspec.json.decode(self.skeleton)
        return fresh


def compile_template(
    resource_id: str,
    value: Any,
    environment: Environment,
    problems: Problems,
    path: Path,
    *,
    cluster: bool = False,
    named: bool = True,
) -> Template | None:
    """Return the template, or None with the reasons in `problems`.

    `cluster`: the blueprint's scope is Cluster. `named`: it must have a metadata.name.
    """
    before = len(problems.errors)
    if not isinstance(value, dict):
        problems.add(path, "a template is a map with apiVersion, kind and metadata")
        return None
    _check_object(value, problems, path, cluster, named)
    compiling = _Compiling(environment, problems, path, value.get("kind") == "SystemdService")
    skeleton = compiling.plain(value, ())
    if value.get("kind") == "CustomResourceDefinition":
        for field in compiling.fields:
            if field.path[0] != "metadata":
                problems.add((*path, *field.path), "a CustomResourceDefinition takes expressions in its metadata only")
    if len(problems.errors) > before:
        return None
    names = {name for field in compiling.fields for each in field.expressions for name in each.uses.names}
    return Template(
        resource_id,
        path,
        value["kind"],
        msgspec.json.encode(skeleton),
        tuple(compiling.fields),
        frozenset(names - {"schema"}),
        any(each.omits for field in compiling.fields for each in field.expressions),
    )


def compile_fields(value: Any, environment: Environment, problems: Problems, path: Path) -> tuple[Field, ...]:
    """Return the values with expressions of any tree; what is wrong goes to `problems`."""
    compiling = _Compiling(environment, problems, path, False)
    compiling.plain(value, ())
    return tuple(compiling.fields)


def _check_object(value: dict[str, Any], problems: Problems, path: Path, cluster: bool, named: bool) -> None:
    for key in ("apiVersion", "kind"):
        text = value.get(key)
        if not isinstance(text, str) or not text:
            problems.add((*path, key), f"{key} must be text" if key in value else f"{key} is missing")
        elif "${" in text or has_control(text) or len(text) > 253:
            problems.add((*path, key), f"{key} must be a plain name, without expressions")
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        problems.add((*path, "metadata"), "metadata must be a map with a name")
        return
    name = metadata.get("name")
    if named and (not isinstance(name, str) or not name):
        problems.add(
            (*path, "metadata", "name"),
            "metadata.name must be text: a site tells its resources apart by kind and name",
            hint="name: ${schema.spec.name}",
        )
    for key in ("labels", "annotations"):
        inside = metadata.get(key)
        for each in inside if isinstance(inside, dict) else ():
            if each.startswith(RESERVED_PREFIXES):
                problems.add((*path, "metadata", key, each), f"{each[:80]} is reserved", at_key=True)
    kind = value.get("kind")
    if isinstance(kind, str) and kind in CLUSTER_KINDS:
        if "namespace" in metadata:
            problems.add((*path, "metadata", "namespace"), f"{kind} lives in no namespace")
    elif cluster and not metadata.get("namespace"):
        problems.add((*path, "metadata"), "with scope Cluster a resource must set metadata.namespace")


class _Compiling:
    """Walks one body; collects the fields, undoes escapes, compiles each expression."""

    def __init__(self, environment: Environment, problems: Problems, base: Path, is_unit: bool) -> None:
        self.fields: list[Field] = []
        self._environment = environment
        self._problems = problems
        self._base = base
        self._is_unit = is_unit

    def plain(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            for key in value:
                if "${" in key:
                    self._problems.add((*self._base, *path, key), "a key cannot be an expression", at_key=True)
            return {key: self.plain(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self.plain(each, (*path, index)) for index, each in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self._text(value, path)
        return value

    def _text(self, value: str, path: Path) -> str:
        try:
            text = scan(value)
        except ScanError as error:
            self._problems.add(
                (*self._base, *path), str(error), offset=error.offset, hint="a literal ${ is written $${"
            )
            return value
        if text.kind == "literal":
            return "".join(str(piece) for piece in text.pieces)
        if len(self.fields) >= MAX_FIELDS:
            self._problems.add((*self._base, *path), f"more than {MAX_FIELDS} values with expressions in one template")
            return ""
        pieces = tuple(self._pieces(text.pieces, path, whole=text.kind == "expression"))
        if len(pieces) == len(text.pieces):
            one_line = self._is_unit and path[:1] == ("spec",) and "\n" in value
            self.fields.append(Field(path, pieces, one_line))
        return ""

    def _pieces(self, pieces: tuple[str | Part, ...], path: Path, *, whole: bool) -> Iterator[str | Expression]:
        where = (*self._base, *path)
        for piece in pieces:
            if isinstance(piece, str):
                yield piece
                continue
            try:
                expression = self._environment.compile(piece.source)
            except ExpressionError as error:
                self._problems.add(
                    where,
                    f"{error.message} in ${{{piece.source[:200]}}}",
                    hint=error.hint,
                    offset=piece.offset + max(error.offset, 0),
                )
                continue
            needs_text = (
                not whole or path in TEXT_PATHS or path[:2] in (("metadata", "labels"), ("metadata", "annotations"))
            )
            if needs_text and expression.type not in ("string", "dyn") and not _holds_text(expression, path):
                self._problems.add(
                    where,
                    f"${{{piece.source[:200]}}} is {expression.type}, and {path_text(path)} takes text",
                    hint=f"${{string({piece.source.strip()[:80]})}}",
                    offset=piece.offset,
                )
                continue
            if expression.omits and path in TEXT_PATHS:
                self._problems.add(where, f"{path_text(path)} cannot be left out with omit()", offset=piece.offset)
                continue
            yield expression


def _holds_text(expression: Expression, path: Path) -> bool:
    """Return whether the expression may fill all of metadata.labels or metadata.annotations."""
    return len(path) == 2 and path not in TEXT_PATHS and expression.type.startswith(("map(string", "dyn"))
