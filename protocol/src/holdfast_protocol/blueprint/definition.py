"""A blueprint's definition: read once, every mistake found, then ready to render instances."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint import graph, names
from holdfast_protocol.blueprint.cel import Environment
from holdfast_protocol.blueprint.documents import Document, Path
from holdfast_protocol.blueprint.images import image_problem, images_of
from holdfast_protocol.blueprint.node import KEYS, Entry, Node, compile_node, list_ids
from holdfast_protocol.blueprint.problems import Checked, Problems
from holdfast_protocol.blueprint.rules import Rules, compile_rules
from holdfast_protocol.blueprint.schema import OPEN, Schema, open_api
from holdfast_protocol.blueprint.schema_checks import check_schema
from holdfast_protocol.blueprint.status import CONDITIONS, Status, compile_status
from holdfast_protocol.blueprint.template import Template
from holdfast_protocol.kinds.table import KINDS
from holdfast_protocol.wire.labels import is_dns_label, is_dns_subdomain

KIND: Final = "Blueprint"
MAX_RESOURCES: Final = 500
MAX_FIELDS: Final = 10_000  # values with expressions, of all resources
PLACEMENT: Final = "placement"  # the platform's field of an instance's spec
_KRO_SCHEMA: Final = {"additionalPrinterColumns", "shortNames", "categories", "metadata"}  # for kubectl: no effect here
_OBJECTS: Final[Schema] = {"type": "array", "items": {"type": "object", OPEN: True}}
_TEXT: Final[Schema] = {"type": "string"}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Final[Schema] = {
    "type": "object",
    "properties": {"name": _TEXT, "namespace": _TEXT, "uid": _TEXT, "labels": _TEXTS, "annotations": _TEXTS},
}


class Definition(msgspec.Struct, frozen=True):
    """A checked blueprint. `kind` and `version` are its instances'; `schema` is OpenAPI of their spec."""

    name: str
    kind: str
    version: str
    group: str
    scope: str  # Namespaced or Cluster
    schema: Schema
    rules: Rules
    nodes: tuple[Node, ...]  # in the order to make them
    waves: dict[str, int]  # by resource id; 1 first to make, last to remove
    status: Status
    environment: Environment
    document: Document
    late: dict[str, str]  # by id, in order: why it cannot be rendered before a site has looked, or what it comes after

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def resources(self) -> tuple[str, ...]:
        """Ids in the order to make them."""
        return tuple(each.id for each in self.nodes)

    @property
    def is_watched(self) -> bool:
        """Return whether a site has something to evaluate besides late resources: readiness, or a status."""
        return bool(any(each.ready for each in self.nodes) or self.status.fields or self.status.conditions)


def check_blueprint(document: Document) -> Checked[Definition]:
    """Return a Blueprint (or kro's ResourceGraphDefinition) as a definition. Raises InputError with every problem."""
    problems = Problems(document)
    _check_frame(document, problems)
    spec = document.value.get("spec")
    if not isinstance(spec, dict):
        problems.add(("spec",), "spec must be a map with schema and resources")
        spec = {"schema": {}}
    _check_keys(spec, {"schema", "resources"}, problems, ("spec",))
    schema = _schema_section(spec.get("schema"), problems)
    openapi, rules = _openapi(schema, problems)
    resources = _resource_entries(spec.get("resources"), problems)
    typed = {"schema": _schema_type(openapi)}
    lists = list_ids(resources)
    known = {**typed, **dict.fromkeys(lists, _OBJECTS)}
    environment = Environment(known, resources.keys() - lists)
    nodes = dict(_nodes(resources, environment, problems, cluster=schema.get("scope") == "Cluster"))
    ordered, waves = _order(nodes, problems)
    status = _status(schema.get("status"), known, resources.keys() - lists, environment, problems)
    for node in nodes.values():
        _warn_images(node.template, problems)
        if not node.is_external:
            _warn_kind(node.template, problems)
    problems.check()
    in_order = tuple(nodes[each] for each in ordered)
    definition = Definition(
        name=document.value["metadata"]["name"],
        kind=schema["kind"],
        version=schema["apiVersion"],
        group=schema.get("group", names.KRO_GROUP if _is_kro(problems) else names.GROUPS[0]),
        scope=schema.get("scope", "Namespaced"),
        schema=openapi,
        rules=rules,
        nodes=in_order,
        waves=waves,
        status=status,
        environment=environment,
        document=document,
        late=_late(in_order),
    )
    return Checked(definition, tuple(problems.warnings))


def _check_frame(document: Document, problems: Problems) -> None:
    of_kro = document.kind == names.KRO_KIND
    if document.api_version != names.KRO_VERSION if of_kro else not names.is_ours(document.api_version):
        hint = names.KRO_VERSION if of_kro else names.API_VERSION
        problems.add(("apiVersion",), f"{document.api_version[:80]!r} is no version of {document.kind[:80]}", hint=hint)
    if not names.is_blueprint(document.kind):
        problems.add(("kind",), f"{document.kind[:80]!r} is not a {KIND}")
    keys = {"apiVersion", "kind", "metadata", "spec"}
    _check_keys(document.value, keys | {"status"} if of_kro else keys, problems, ())
    metadata = document.value.get("metadata")
    if not isinstance(metadata, dict):
        problems.add(("metadata",), "metadata must be a map with a name")
        return
    name = metadata.get("name")
    if of_kro:  # with whatever its cluster added; its names often end in a group
        if not isinstance(name, str) or not is_dns_subdomain(name):
            problems.add(("metadata", "name"), "the name must be a DNS name: webapp.kro.run")
        return
    _check_keys(metadata, {"name", "namespace", "labels", "annotations"}, problems, ("metadata",))
    if not isinstance(name, str) or not is_dns_label(name):
        problems.add(
            ("metadata", "name"),
            "a blueprint's name is 1 to 63 lower-case letters, digits and inner hyphens",
        )


def _schema_section(value: Any, problems: Problems) -> dict[str, Any]:
    path = ("spec", "schema")
    if not isinstance(value, dict):
        problems.add(path, "schema must be a map with apiVersion, kind and spec")
        return {}
    keys = {"apiVersion", "kind", "group", "scope", "spec", "types", "status"}
    _check_keys(value, keys | _KRO_SCHEMA if _is_kro(problems) else keys, problems, path)
    kind, version, group = value.get("kind"), value.get("apiVersion"), value.get("group", names.GROUPS[0])
    if isinstance(kind, str) and kind in names.OBJECTS and group in names.GROUPS and not _is_kro(problems):
        hint = "another kind, or a group of your own"
        problems.add((*path, "kind"), f"{kind} is a kind of Holdfast's own", hint=hint)
    elif not isinstance(kind, str) or not names.is_kind(kind) or names.is_blueprint(kind):
        problems.add((*path, "kind"), "the kind of the instances is a name in upper camel case, at most 63 letters")
    if not isinstance(version, str) or not names.is_version(version):
        problems.add((*path, "apiVersion"), "must be a version: v1, v1alpha1, v2beta3")
    if not isinstance(group, str) or not is_dns_subdomain(group):
        problems.add((*path, "group"), "must be a DNS name: example.com")
    if value.get("scope", "Namespaced") not in ("Namespaced", "Cluster"):
        problems.add((*path, "scope"), "must be Namespaced or Cluster")
    return value


def _is_kro(problems: Problems) -> bool:
    return problems.document.kind == names.KRO_KIND


def _openapi(schema: dict[str, Any], problems: Problems) -> tuple[Schema, Rules]:
    path = ("spec", "schema")
    before = len(problems.errors)
    fields = schema.get("spec", {})
    openapi = open_api(fields, schema.get("types"), problems, path)
    if isinstance(fields, dict) and PLACEMENT in fields:
        problems.add((*path, "spec", PLACEMENT), "placement is the platform's field of every instance", at_key=True)
    if len(problems.errors) > before:
        return {"type": "object", OPEN: True}, {}
    check_schema(openapi, problems, (*path, "spec"))
    return openapi, compile_rules(openapi, problems, (*path, "spec"))


def _status(
    value: Any, schemas: dict[str, Schema], ids: Collection[str], environment: Environment, problems: Problems
) -> Status:
    conditions = isinstance(value, dict) and CONDITIONS in value
    among = Environment(schemas, ids, runtime=True) if conditions else environment
    return compile_status(value, environment, among, problems, ("spec", "schema", "status"))


def _schema_type(openapi: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA, "spec": openapi},
    }


def _resource_entries(value: Any, problems: Problems) -> dict[str, Entry]:
    """Return the resources by id, each with its path; those without a usable id are only problems."""
    found: dict[str, Entry] = {}
    if value is None:
        return found
    if not isinstance(value, list):
        problems.add(("spec", "resources"), "resources must be a list")
        return found
    if len(value) > MAX_RESOURCES:
        problems.add(("spec", "resources"), f"more than {MAX_RESOURCES} resources")
        return found
    for index, each in enumerate(value):
        path: Path = ("spec", "resources", index)
        if not isinstance(each, dict):
            problems.add(path, "a resource is a map with id and template")
            continue
        _check_keys(each, set(KEYS), problems, path)
        resource_id = each.get("id")
        if not isinstance(resource_id, str) or not names.is_id(resource_id):
            problems.add((*path, "id"), "an id is a name in lower camel case: cameraDriver")
        elif resource_id in names.RESERVED:
            problems.add((*path, "id"), f"{resource_id} is a reserved word")
        elif resource_id in found:
            first = problems.document.place((*found[resource_id][1], "id"))
            problems.add((*path, "id"), f"id {resource_id} stands twice, first at line {first[0]}")
        else:
            found[resource_id] = (each, path)
    return found


def _nodes(
    resources: dict[str, Entry], environment: Environment, problems: Problems, *, cluster: bool
) -> Iterator[tuple[str, Node]]:
    fields = 0
    for resource_id, entry in resources.items():
        if fields > MAX_FIELDS:
            problems.add(entry[1], f"more than {MAX_FIELDS} values with expressions before this resource")
            return
        node = compile_node(resource_id, entry, frozenset(resources), environment, problems, cluster=cluster)
        if node is not None:
            fields += len(node.template.fields)
            yield resource_id, node


def _order(nodes: dict[str, Node], problems: Problems) -> tuple[list[str], dict[str, int]]:
    depends = {each.id: each.needs & nodes.keys() for each in nodes.values()}
    if circle := graph.cycle(depends):
        path = nodes[circle[0]].template.path
        problems.add(path, f"resources need each other in a circle: {' -> '.join(circle)}")
        return list(nodes), {}
    return graph.order(list(nodes), depends), graph.waves(list(nodes), depends)


def _late(nodes: Iterable[Node]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in nodes:
        _, why = next(node.observing(), ((), ""))
        after = next((f"{each} is decided at the site" for each in sorted(node.needs & found.keys())), "")
        if why or after:
            found[node.id] = why or after
    return found


def _warn_images(template: Template, problems: Problems) -> None:
    for path, image in images_of(template.body()):
        if reason := image_problem(image):
            problems.warn((*template.path, *path), f"image {image[:200]!r} {reason}")


def _warn_kind(template: Template, problems: Problems) -> None:
    if template.kind not in KINDS:
        near = difflib.get_close_matches(template.kind[:80], KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else ""
        message = f"no site does anything for kind {template.kind[:80]}: it is kept, and reported Unsupported"
        problems.warn((*template.path, "kind"), message, hint=hint)


def _check_keys(value: dict[str, Any], known: set[str], problems: Problems, path: Path) -> None:
    for key in value:
        if key not in known:
            problems.add(
                (*path, key), f"unknown field {key[:80]!r}", hint=f"known: {', '.join(sorted(known))}", at_key=True
            )
