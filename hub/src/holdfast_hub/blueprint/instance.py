"""An instance of a blueprint: its values checked against the schema, its placement read.

The name is metadata.name or, as in the original documents, `spec.name`. `spec.placement` is the platform's own field.
"""

import re
from typing import Any, Final

import msgspec

from holdfast_hub.core.placement import Placement, read_placement
from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.cel import ExpressionError
from holdfast_protocol.blueprint.definition import PLACEMENT, Definition
from holdfast_protocol.blueprint.documents import Document, Path
from holdfast_protocol.blueprint.images import image_problem, is_image
from holdfast_protocol.blueprint.problems import Checked, Problems
from holdfast_protocol.blueprint.rules import broken
from holdfast_protocol.blueprint.values import ABSENT, BLOCKING, defaulted, pruned, typed, violations
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.labels import is_dns_label

MAX_TEXT: Final = 32 * 1024  # characters of one value: an expression may repeat it thousands of times
MAX_BYTES: Final = 256 * 1024  # of all values as JSON
_METADATA: Final = frozenset({"name", "namespace", "uid", "labels", "annotations"})
_FIELD: Final = re.compile(r"\s*schema\.spec((?:\.[A-Za-z_]\w*)+)\s*")


class Instance(msgspec.Struct, frozen=True):
    """A checked instance. `values` is its spec without placement, defaults filled in; no placement goes nowhere."""

    name: str
    kind: str
    api_version: str
    values: dict[str, Any]
    metadata: dict[str, Any]
    placement: Placement | None
    document: Document

    @property
    def owner(self) -> str:
        return f"{self.kind}/{self.name}"

    def as_schema(self) -> dict[str, Any]:
        """Return what `schema` is in the blueprint's expressions."""
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": self.metadata, "spec": self.values}


def check_instance(
    definition: Definition, document: Document, previous: dict[str, Any] | None = None
) -> Checked[Instance]:
    """Return a document as an instance of `definition`. Raises InputError with every problem.

    `previous` are the values of the instance as it was, for rules on change; None when it is new.
    """
    problems = Problems(document)
    _check_frame(definition, document, problems)
    metadata = _metadata(document, problems)
    spec = document.value.get("spec")
    if "spec" in document.value and not isinstance(spec, dict):
        problems.add(("spec",), "spec must be a map")
    values = {key: each for key, each in spec.items() if key != PLACEMENT} if isinstance(spec, dict) else {}
    placement = _placement(spec[PLACEMENT], problems) if isinstance(spec, dict) and PLACEMENT in spec else None
    checked = _values(definition, values, previous, problems)
    if not is_dns_label(document.name):
        path: Path = ("metadata", "name") if "name" in metadata else ("spec", "name")
        problems.add(
            path,
            f"{document.name[:80]!r} cannot name an instance: 1 to 63 lower-case letters, digits and inner hyphens",
            hint="the name is metadata.name, or spec.name without one",
        )
    problems.check()
    instance = Instance(
        name=document.name,
        kind=definition.kind,
        api_version=document.api_version,
        values=checked,
        metadata={**metadata, "name": document.name},
        placement=placement,
        document=document,
    )
    _warn_images(definition, instance, problems)
    return Checked(instance, tuple(problems.warnings))


def _check_frame(definition: Definition, document: Document, problems: Problems) -> None:
    if document.kind != definition.kind:
        problems.add(("kind",), f"{document.kind[:80]!r} is not {definition.kind}")
    groups = {*names.GROUPS, definition.group}
    if document.api_version not in {definition.version, *(f"{group}/{definition.version}" for group in groups)}:
        problems.add(
            ("apiVersion",),
            f"{document.api_version[:80]!r} is not the version of {definition.kind}",
            hint=f"{definition.version} or {definition.api_version}",
        )
    for key in document.value:
        if key not in ("apiVersion", "kind", "metadata", "spec"):
            problems.add(
                (key,), f"unknown field {key[:80]!r}", hint="known: apiVersion, kind, metadata, spec", at_key=True
            )


def _metadata(document: Document, problems: Problems) -> dict[str, Any]:
    value = document.value.get("metadata", {})
    if not isinstance(value, dict):
        problems.add(("metadata",), "metadata must be a map")
        return {}
    for key, each in value.items():
        path: Path = ("metadata", key)
        if key not in _METADATA:
            problems.add(
                path, f"unknown field {key[:80]!r}", hint=f"known: {', '.join(sorted(_METADATA))}", at_key=True
            )
        elif key in ("labels", "annotations"):
            if not isinstance(each, dict) or not all(isinstance(text, str) for text in each.values()):
                problems.add(path, f"{key} must be a map of texts")
        elif not isinstance(each, str):
            problems.add(path, f"{key} must be text")
    return value


def _placement(value: Any, problems: Problems) -> Placement | None:
    flaws: list[Flaw] = []
    placement = read_placement(value, flaws)
    for flaw in flaws:
        add = problems.warn if flaw.warning else problems.add
        add(("spec", PLACEMENT, *flaw.path), flaw.message, hint=flaw.hint)
    return placement


def _values(
    definition: Definition, values: dict[str, Any], previous: dict[str, Any] | None, problems: Problems
) -> dict[str, Any]:
    schema = definition.schema
    _check_size(values, problems)
    kept, dropped = pruned(values, schema)
    for path in dropped:
        known = sorted(schema.get("properties", {})) if len(path) == 1 else []
        problems.add(
            ("spec", *path),
            f"unknown field {str(path[-1])[:80]!r}",
            hint=f"known: {', '.join([*known, PLACEMENT])}" if known else "",
            at_key=True,
        )
    filled: dict[str, Any] = defaulted(kept, schema)
    found = violations(filled, schema)
    if not any(each.fault in BLOCKING for each in found):
        found += broken(filled, ABSENT if previous is None else previous, schema, definition.rules)
    for each in found:
        problems.add(("spec", *each.path), each.message)
    return typed(filled, schema) if not found else filled


def _check_size(values: dict[str, Any], problems: Problems) -> None:
    stack: list[tuple[Any, Path]] = [(values, ("spec",))]
    while stack:
        value, path = stack.pop()
        if isinstance(value, str) and len(value) > MAX_TEXT:
            problems.add(path, f"a text of {len(value)} characters, the limit of a value is {MAX_TEXT}")
        elif isinstance(value, dict):
            stack.extend((each, (*path, key)) for key, each in value.items())
        elif isinstance(value, list):
            stack.extend((each, (*path, index)) for index, each in enumerate(value))
    if len(msgspec.json.encode(values)) > MAX_BYTES:
        problems.add(("spec",), f"the values together are larger than {MAX_BYTES} bytes")


def value_path(source: str) -> Path:
    """Return the field of the instance's spec an expression is and nothing more; () for any other expression."""
    found = _FIELD.fullmatch(source)
    return tuple(found[1][1:].split(".")) if found else ()


def _warn_images(definition: Definition, instance: Instance, problems: Problems) -> None:
    """Warn of images no engine could pull, where the instance (or else the blueprint) says them."""
    bindings = definition.environment.bind({"schema": instance.as_schema()})
    seen: set[str] = set()
    for node in definition.nodes:
        for field in node.template.fields:
            if not (is_image(field.path) and field.is_whole and field.expressions[0].uses.names <= {"schema"}):
                continue
            expression = field.expressions[0]
            try:
                image = expression.evaluate(bindings)
            except ExpressionError:
                continue  # rendering says so
            reason = image_problem(image) if isinstance(image, str) else ""
            if reason and image not in seen:
                seen.add(image)
                problems.warn(("spec", *value_path(expression.source)), f"image {image[:200]!r} {reason}")
