"""A blueprint's definition: read once, every mistake found, then ready to render instances."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import graph, names
from holdfast_hub.blueprint.cel import Environment
from holdfast_hub.blueprint.documents import Document, Path
from holdfast_hub.blueprint.images import image_problem, images_of
from holdfast_hub.blueprint.problems import Checked, Problems
from holdfast_hub.blueprint.rules import Rules, compile_rules
from holdfast_hub.blueprint.schema import OPEN, Schema, open_api
from holdfast_hub.blueprint.schema_checks import check_schema
from holdfast_hub.blueprint.template import Template, compile_template
from holdfast_hub.core.labels import is_dns_label, is_dns_subdomain

KIND: Final = "Blueprint"
MAX_RESOURCES: Final = 500
MAX_FIELDS: Final = 10_000  # values with expressions, of all resources
PLACEMENT: Final = "placement"  # the platform's field of an instance's spec
_LATER: Final = ("externalRef", "includeWhen", "readyWhen", "forEach")
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
    templates: tuple[Template, ...]  # in the order to make them
    waves: dict[str, int]  # by resource id; 1 first to make, last to remove
    environment: Environment
    document: Document

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def resources(self) -> tuple[str, ...]:
        """Ids in the order to make them."""
        return tuple(each.id for each in self.templates)


def check_blueprint(document: Document) -> Checked[Definition]:
    """Return a Blueprint document as a definition. Raises InputError with every problem."""
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
    environment = Environment({"schema": _schema_type(openapi)}, resources)
    templates = dict(_templates(resources, environment, problems, cluster=schema.get("scope") == "Cluster"))
    ordered, waves = _order(templates, problems)
    for template in templates.values():
        _warn_images(template, problems)
    problems.check()
    definition = Definition(
        name=document.value["metadata"]["name"],
        kind=schema["kind"],
        version=schema["apiVersion"],
        group=schema.get("group", names.GROUPS[0]),
        scope=schema.get("scope", "Namespaced"),
        schema=openapi,
        rules=rules,
        templates=tuple(templates[each] for each in ordered),
        waves=waves,
        environment=environment,
        document=document,
    )
    return Checked(definition, tuple(problems.warnings))


def _check_frame(document: Document, problems: Problems) -> None:
    if not names.is_ours(document.api_version):
        problems.add(("apiVersion",), f"{document.api_version[:80]!r} is no version of ours", hint=names.API_VERSION)
    if document.kind != KIND:
        problems.add(("kind",), f"{document.kind[:80]!r} is not a {KIND}")
    _check_keys(document.value, {"apiVersion", "kind", "metadata", "spec"}, problems, ())
    metadata = document.value.get("metadata")
    if not isinstance(metadata, dict):
        problems.add(("metadata",), "metadata must be a map with a name")
        return
    _check_keys(metadata, {"name", "namespace", "labels", "annotations"}, problems, ("metadata",))
    name = metadata.get("name")
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
    _check_keys(value, {"apiVersion", "kind", "group", "scope", "spec", "types", "status"}, problems, path)
    kind, version, group = value.get("kind"), value.get("apiVersion"), value.get("group", names.GROUPS[0])
    if not isinstance(kind, str) or not names.is_kind(kind) or kind == KIND:
        problems.add((*path, "kind"), "the kind of the instances is a name in upper camel case, at most 63 letters")
    if not isinstance(version, str) or not names.is_version(version):
        problems.add((*path, "apiVersion"), "must be a version: v1, v1alpha1, v2beta3")
    if not isinstance(group, str) or not is_dns_subdomain(group):
        problems.add((*path, "group"), "must be a DNS name: example.com")
    if value.get("scope", "Namespaced") not in ("Namespaced", "Cluster"):
        problems.add((*path, "scope"), "must be Namespaced or Cluster")
    if value.get("status"):
        problems.add((*path, "status"), "status is not supported yet", at_key=True)
    return value


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


def _schema_type(openapi: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA, "spec": openapi},
    }


def _resource_entries(value: Any, problems: Problems) -> dict[str, tuple[dict[str, Any], Path]]:
    """Return the resources by id, each with its path; those without a usable id are only problems."""
    found: dict[str, tuple[dict[str, Any], Path]] = {}
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
        _check_keys(each, {"id", "template", *_LATER}, problems, path)
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


def _templates(
    resources: dict[str, tuple[dict[str, Any], Path]], environment: Environment, problems: Problems, *, cluster: bool
) -> Iterator[tuple[str, Template]]:
    fields = 0
    for resource_id, (entry, path) in resources.items():
        if fields > MAX_FIELDS:
            problems.add(path, f"more than {MAX_FIELDS} values with expressions before this resource")
            return
        for key in _LATER:
            if entry.get(key):
                problems.add((*path, key), f"{key} is not supported yet", at_key=True)
        if "template" not in entry:
            if not entry.get("externalRef"):
                problems.add(path, "a resource needs a template")
            continue
        if entry.get("forEach"):
            continue  # its template may name the loop's variables
        template = compile_template(
            resource_id, entry["template"], environment, problems, (*path, "template"), cluster=cluster
        )
        if template is None:
            continue
        fields += len(template.fields)
        if resource_id in template.needs:
            problems.add((*path, "template"), f"{resource_id} refers to itself")
            continue
        yield resource_id, template


def _order(templates: dict[str, Template], problems: Problems) -> tuple[list[str], dict[str, int]]:
    depends = {each.id: each.needs & templates.keys() for each in templates.values()}
    if circle := graph.cycle(depends):
        path = templates[circle[0]].path
        problems.add(path, f"resources need each other in a circle: {' -> '.join(circle)}")
        return list(templates), {}
    return graph.order(list(templates), depends), graph.waves(list(templates), depends)


def _warn_images(template: Template, problems: Problems) -> None:
    for path, image in images_of(template.body()):
        if reason := image_problem(image):
            problems.warn((*template.path, *path), f"image {image[:200]!r} {reason}")


def _check_keys(value: dict[str, Any], known: set[str], problems: Problems, path: Path) -> None:
    for key in value:
        if key not in known:
            problems.add(
                (*path, key), f"unknown field {key[:80]!r}", hint=f"known: {', '.join(sorted(known))}", at_key=True
            )
