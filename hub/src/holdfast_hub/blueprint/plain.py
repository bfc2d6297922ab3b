"""Plain Kubernetes manifests as a blueprint of one: what a file holds becomes a blueprint without inputs, and its instance.

The blueprint is called as the file, or as somebody says; its kind is that name with `Manifests` at the end. Every text is
literal: a `${` in a manifest is that and nothing else. Where it goes is said in words, or in an annotation.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.core.selector_text import parse_fields, parse_labels
from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.blueprint.yaml_text import Place
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.kinds import hub_bridge, table
from holdfast_protocol.wire.labels import is_dns_label

PLACEMENT: Final = "holdfast.io/placement"  # annotation: a label selector as text; * is every site
FIELDS: Final = "holdfast.io/placement-fields"  # annotation: a field selector as text
MADE_FROM: Final = "holdfast.io/made-from"  # annotation of the blueprint
EVERY_SITE: Final = "*"
SUFFIX: Final = "Manifests"
MAX_MANIFESTS: Final = 500  # of one blueprint
_CORE: Final = frozenset(  # of apiVersion v1, which no site does yet
    [
        "Endpoints",
        "LimitRange",
        "Namespace",
        "PersistentVolume",
        "PodTemplate",
        "ReplicationController",
        "ResourceQuota",
        "Service",
        "ServiceAccount",
    ]
)
_UNTOLD: Final = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"})


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of plain manifests: a name other than the file's, and where they go."""

    name: str = ""
    selector: str = ""  # over labels
    fields: str = ""


def is_plain(document: Document, kinds: Collection[str]) -> bool:
    """Return whether a document is a manifest of somebody else's kind; `kinds` are those that blueprints define."""
    if document.kind in kinds or names.is_blueprint(document.kind) or document.kind in names.OBJECTS:
        return False
    if hub_bridge.is_hubs(document.value):
        return False
    spec = document.value.get("spec")
    if isinstance(spec, dict) and "placement" in spec:
        return False  # an instance whose blueprint is not there
    group, slash, _ = document.api_version.rpartition("/")
    known = document.kind in table.KINDS
    if not slash:
        return document.api_version == "v1" and (known or document.kind in _CORE or document.kind == "List")
    return known or not (names.is_ours(document.api_version) or group in {*names.GROUPS, names.KRO_GROUP})


def manifests_kind(name: str) -> str:
    """Return the kind of a blueprint of one: press-line is PressLineManifests."""
    words = "".join(part[:1].upper() + part[1:] for part in name.split("-"))
    return f"{words if words[:1].isalpha() else f'M{words}'}{SUFFIX}"


def as_blueprint(documents: Sequence[Document], words: Words | None) -> tuple[Document, Document]:
    """Return the manifests of one file as a blueprint and its instance. Raises InputError with every problem.

    `words` is None where nobody asks which sites they are for.
    """
    return _Making(documents, words or Words(selector=EVERY_SITE)).run()


class _Making:
    def __init__(self, documents: Sequence[Document], words: Words) -> None:
        self._documents = documents
        self._words = words
        self._problems: list[Problem] = []

    def run(self) -> tuple[Document, Document]:
        name = self._name()
        placement = self._placement()
        manifests = [each for document in self._documents for each in self._unlisted(document)]
        if len(manifests) > MAX_MANIFESTS:
            self._refuse((), f"{len(manifests)} manifests in one file, the limit is {MAX_MANIFESTS}")
        if self._problems:
            raise InputError(self._problems)
        kind = manifests_kind(name)
        ids = list(_ids(manifests))
        first = self._documents[0]
        blueprint = {
            "apiVersion": names.API_VERSION,
            "kind": "Blueprint",
            "metadata": {"name": name, "annotations": {MADE_FROM: "manifests"}},
            "spec": {
                "schema": {"apiVersion": "v1alpha1", "kind": kind},
                "resources": [
                    {"id": each, "template": _literal(_clean(value))}
                    for each, (value, _) in zip(ids, manifests, strict=True)
                ],
            },
        }
        entries = [Place(at.line, at.column, inside={"template": at}) for _, at in manifests]
        places = _place({"spec": _place({"resources": Place(1, 1, inside=entries)})})
        instance = {
            "apiVersion": "v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"placement": placement},
        }
        return (
            Document(blueprint, places, first.file, yaml_writer.write(blueprint), first.warnings),
            Document(instance, Place(1, 1), first.file, yaml_writer.write(instance)),
        )

    def _name(self) -> str:
        if self._words.name:
            if not is_dns_label(self._words.name):
                text = f"{self._words.name[:80]!r} is no name: 1 to 63 lower-case letters, digits and inner hyphens"
                self._problems.append(Problem(text, path="name"))
            return self._words.name
        file = self._documents[0].file.rsplit("/", 1)[-1]
        stem = file.rsplit(".", 1)[0] if "." in file else file
        name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63].strip("-")
        if not name or file.startswith("<"):
            self._refuse((), "plain manifests of no file need a name", hint="--name NAME")
        return name

    def _placement(self) -> dict[str, Any]:
        labels = self._said(PLACEMENT, self._words.selector)
        fields = self._said(FIELDS, self._words.fields)
        if not labels and not fields:
            self._refuse(
                (),
                "plain manifests say nothing of the sites they are for",
                hint=f"--selector zone=west (--selector '*' for every site), or annotate one of them {PLACEMENT}: zone=west",
            )
        placement: dict[str, Any] = {}
        try:
            if labels:
                every = labels == EVERY_SITE
                placement["labelSelector"] = {} if every else {"matchExpressions": list(_label_terms(labels))}
            if fields:
                placement["fieldSelector"] = {"matchExpressions": list(_field_terms(fields))}
        except InputError as error:
            self._problems += [
                msgspec.structs.replace(each, file=self._documents[0].file) if not self._words.selector else each
                for each in error.problems
            ]
        return placement

    def _said(self, annotation: str, words: str) -> str:
        """Return a selector said in words, or in an annotation, which must be the same wherever it stands."""
        found = words
        for document in self._documents:
            metadata = document.value.get("metadata")
            annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
            text = annotations.get(annotation) if isinstance(annotations, dict) else None
            if text is None or words:
                continue
            path = ("metadata", "annotations", annotation)
            if not isinstance(text, str) or not text:
                self._problems.append(document.problem(path, "is a selector as text: zone=west,tier in (a,b)"))
            elif found and found != text:
                said = f"another manifest of the same file says {found[:200]!r}: they go to the same sites"
                self._problems.append(document.problem(path, said))
            else:
                found = text
        return found.strip()

    def _unlisted(self, document: Document) -> Iterator[tuple[dict[str, Any], Place]]:
        """Yield a document, or the items of a List, with where they stand."""
        if document.kind != "List":
            yield document.value, document.root
            return
        items = document.value.get("items")
        if not isinstance(items, list):
            self._problems.append(document.problem(("items",), "items of a List must be a list"))
            return
        below = document.root.inside
        at = below.get("items") if isinstance(below, dict) else None
        places = at.inside if at is not None and isinstance(at.inside, list) else []
        for index, each in enumerate(items):
            if not isinstance(each, dict) or each.get("kind") == "List":
                self._problems.append(document.problem(("items", index), "an item of a List is a manifest"))
            else:
                yield each, places[index] if index < len(places) else document.root

    def _refuse(self, path: tuple[str | int, ...], message: str, *, hint: str = "") -> None:
        self._problems.append(self._documents[0].problem(path, message, hint=hint))


def _place(inside: dict[str, Place]) -> Place:
    return Place(1, 1, inside=inside)


def _ids(manifests: Sequence[tuple[dict[str, Any], Place]]) -> Iterator[str]:
    """Yield an id for each manifest, from its kind and name: deploymentWeb."""
    taken: set[str] = set()
    for value, _ in manifests:
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        words = re.findall(r"[A-Za-z0-9]+", f"{value.get('kind', '')} {name}")
        text = "".join(word[:1].upper() + word[1:] for word in words)
        plain = (text[:1].lower() + text[1:])[:56] if text[:1].isalpha() else f"manifest{text}"[:56]
        found, number = plain, 1
        while found in taken or found in names.RESERVED:
            number += 1
            found = f"{plain}{number}"
        taken.add(found)
        yield found


def _clean(value: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without what a cluster says of it, and without our own annotations."""
    kept = {key: each for key, each in value.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: each for key, each in metadata.items() if key not in _UNTOLD}
        annotations = metadata.get("annotations")
        if isinstance(annotations, dict):
            others = {key: each for key, each in annotations.items() if key not in (PLACEMENT, FIELDS)}
            metadata = {**metadata, "annotations": others}
            if not others:
                del metadata["annotations"]
        kept["metadata"] = metadata
    return kept


def _literal(value: Any) -> Any:
    """Return a value in which no text is an expression any more."""
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _label_terms(text: str) -> Iterator[dict[str, Any]]:
    for each in parse_labels(text):
        values = {"values": list(each.values)} if each.values else {}
        yield {"key": each.key, "operator": each.operator, **values}


def _field_terms(text: str) -> Iterator[dict[str, Any]]:
    for each in parse_fields(text):
        yield {"key": each.key, "operator": "NotIn" if each.negated else "In", "values": [each.value]}
