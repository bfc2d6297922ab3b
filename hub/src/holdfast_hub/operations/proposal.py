"""From files to a checked change: every document, in any order, and everything that depends on it.

All problems are found before any is raised: each file's reading, each blueprint, each instance against the blueprint of
its kind (a new one before a stored one), each stored instance whose blueprint changes, and every rendering.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from holdfast_hub.blueprint.change import definition_changes
from holdfast_hub.blueprint.instance import Instance, check_instance
from holdfast_hub.blueprint.pin import ANNOTATION, read_pin
from holdfast_hub.blueprint.placed import check_placed, is_placed
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.blueprint.program import program_of
from holdfast_hub.blueprint.render import render
from holdfast_hub.operations.fleet import Change, Fleet, stored_document
from holdfast_hub.operations.intake import SourceFile, defined_kind, documents_of
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_hub.store.objects import ObjectRow
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import Document, read_documents
from holdfast_protocol.blueprint.names import is_blueprint
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey, resource_key
from holdfast_protocol.wire.program import Program
from holdfast_protocol.wire.target import Resource, resource
from holdfast_protocol.wire.windows import KIND as WINDOW

Action = Literal["created", "changed", "unchanged"]


class Result(msgspec.Struct, frozen=True):
    """What applying does to one document. `revision` is a blueprint's; None for anything else."""

    kind: str
    name: str
    action: Action
    revision: int | None = None


class Proposal(msgspec.Struct, frozen=True):
    change: Change
    results: tuple[Result, ...]
    warnings: tuple[Problem, ...]
    documents: dict[str, Document]  # of the instances looked at, by Kind/name
    definitions: dict[str, Definition]  # of the blueprints given, by their instances' kind
    used: dict[str, Definition]  # what each instance looked at was rendered from, by Kind/name


class Proposing:
    """Collects one proposal; `next_revision` gives a changed blueprint its next revision, `revision` finds an older one.

    `force`: a breaking change of a stored blueprint's schema is only warned of.
    """

    def __init__(
        self,
        fleet: Fleet,
        next_revision: Callable[[str], int],
        revision: Callable[[str, int], BlueprintRow | None],
        *,
        author: str,
        at: int,
        force: bool = False,
    ) -> None:
        self._fleet = fleet
        self._next_revision = next_revision
        self._revision = revision
        self._author = author
        self._at = at
        self._force = force
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._definitions: dict[str, tuple[BlueprintRow, Definition]] = {}  # of these files, by kind
        self._broken: set[str] = set()  # kinds whose blueprint was refused: their instances are not judged
        self._blueprints: dict[str, BlueprintRow] = {}
        self._instances: dict[str, InstanceRow] = {}
        self._objects: dict[str, ObjectRow] = {}
        self._documents: dict[str, Document] = {}
        self._used: dict[str, Definition] = {}
        self._results: list[Result] = []

    def propose(self, files: Sequence[SourceFile], words: Words | None) -> Proposal:
        """Return the proposal; `words` are of the plain manifests. Raises InputError with every problem."""
        kinds = {row.kind for row in self._fleet.blueprints.values()}
        documents, self._problems = documents_of(files, kinds, words)
        for document in documents:
            if is_blueprint(document.kind):
                self._take_blueprint(document)
        for document in documents:
            if is_placed(document):
                self._take_object(document)
            elif not is_blueprint(document.kind):
                self._take_instance(document)
        self._take_stored_instances()
        if self._problems:
            raise InputError(self._problems)
        return Proposal(
            Change(dict(self._blueprints), dict(self._instances), objects=dict(self._objects)),
            tuple(self._results),
            tuple(self._warnings),
            self._documents,
            {kind: definition for kind, (_, definition) in self._definitions.items()},
            self._used,
        )

    def _take_blueprint(self, document: Document) -> None:
        try:
            checked = check_blueprint(document)
        except InputError as error:
            self._problems += error.problems
            self._broken.add(defined_kind(document))
            return
        self._warnings += checked.warnings
        definition = checked.value
        name, kind = definition.name, definition.kind
        if name in self._blueprints:
            self._problems.append(document.problem((), f"Blueprint {name!r} is given twice"))
            return
        other = self._fleet.of_kind(kind)
        if kind in self._definitions:
            other = self._definitions[kind][0]
        if other is not None and other.name != name:
            self._problems.append(
                document.problem(
                    ("spec", "schema", "kind"), f"kind {kind} is already defined by Blueprint {other.name!r}"
                )
            )
            return
        held = self._fleet.blueprints.get(name)
        digest = digest_bytes(document.text.encode())
        if held is not None and held.kind != kind and any(row.kind == held.kind for row in self._rows(name)):
            self._problems.append(
                document.problem(
                    ("spec", "schema", "kind"),
                    f"the kind was {held.kind}, and instances of it exist",
                    hint=f"delete the instances of {held.kind} first",
                )
            )
            return
        if held is not None and held.digest == digest:
            row, action = held, "unchanged"
        else:
            if held is not None:
                self._check_change(held, definition)
            row = BlueprintRow(
                name,
                kind,
                self._next_revision(name),
                digest,
                document.text,
                document.file,
                _lines_before(document),
                self._author,
                self._at,
            )
            self._blueprints[name] = row
            action = "created" if held is None else "changed"
        self._definitions[kind] = (row, definition)
        self._results.append(Result("Blueprint", name, msgspec.convert(action, Action), row.revision))

    def _check_change(self, held: BlueprintRow, definition: Definition) -> None:
        """Refuse what breaks the promise a stored blueprint made to its instances, each change at its place."""
        for change in definition_changes(self._fleet.definition(held), definition):
            if not change.breaking:
                continue
            problem = definition.document.problem(
                ("spec", "schema", *change.field),
                f"breaking change of {held.name} revision {held.revision}: {change}",
                hint="--force accepts it; a new blueprint under another name and kind breaks nobody",
            )
            if self._force:
                self._warnings.append(msgspec.structs.replace(problem, severity="warning"))
            else:
                self._problems.append(problem)

    def _rows(self, blueprint: str) -> list[InstanceRow]:
        return [row for row in self._fleet.instances.values() if row.blueprint == blueprint]

    def _definition_of(self, document: Document) -> tuple[BlueprintRow, Definition] | None:
        if document.kind in self._definitions:
            return self._definitions[document.kind]
        if document.kind in self._broken:
            return None
        row = self._fleet.of_kind(document.kind)
        if row is not None:
            return row, self._fleet.definition(row)
        known = {*self._definitions, *(held.kind for held in self._fleet.blueprints.values()), "Blueprint"}
        near = difflib.get_close_matches(document.kind, sorted(known), 1)
        hint = (
            f"did you mean {near[0]}?" if near else "apply the blueprint that defines it, together with this or before"
        )
        self._problems.append(document.problem(("kind",), f"no blueprint defines kind {document.kind}", hint=hint))
        return None

    def _pinned(
        self, document: Document, found: tuple[BlueprintRow, Definition]
    ) -> tuple[BlueprintRow, Definition] | None:
        """Return the revision a document asks to keep, the newest when it asks for none."""
        path = ("metadata", "annotations", ANNOTATION)
        try:
            pin = read_pin(document)
            if pin in (0, found[0].revision):
                return found
            row = self._revision(found[0].name, pin)
            definition = self._fleet.definition(row) if row is not None else None
        except InputError as error:
            self._problems += error.problems
            return None
        if row is None or definition is None or definition.kind != document.kind:
            text = f"Blueprint {found[0].name!r} has no revision {pin} of kind {document.kind}"
            hint = f"the newest is {found[0].revision}; see holdfast describe blueprint {found[0].name}"
            self._problems.append(document.problem(path, text, hint=hint))
            return None
        return row, definition

    def _take_instance(self, document: Document) -> None:
        found = self._definition_of(document)
        found = self._pinned(document, found) if found else None
        instance = self._checked(document, found[1]) if found else None
        if found is None or instance is None:
            return
        owner = instance.owner
        if owner in self._documents:
            self._problems.append(document.problem((), f"{owner} is given twice"))
            return
        row = self._row(document, instance, found, author=self._author, at=self._at)
        if row is None:
            return
        held = self._fleet.instances.get(owner)
        self._documents[owner] = document
        if held is not None and held.digest == row.digest:
            action: Action = "unchanged"  # as written; its resources may still follow a changed blueprint
            row = msgspec.structs.replace(row, author=held.author, at=held.at, file=held.file, line=held.line)
        else:
            action = "created" if held is None else "changed"
        if row != held:
            self._instances[owner] = row
        self._results.append(Result(instance.kind, instance.name, action))

    def _take_object(self, document: Document) -> None:
        try:
            checked = check_placed(document)
        except InputError as error:
            self._problems += error.problems
            return
        self._warnings += checked.warnings
        placed = checked.value
        if any((each.kind, each.name) == (placed.kind, placed.name) for each in self._results):
            self._problems.append(document.problem((), f"{placed.owner} is given twice"))
            return
        zone = placed.spec.get("timeZone") if placed.kind == WINDOW else None
        if zone and zones.zone(zone) is None:
            hint = "an IANA name: Europe/Berlin"
            self._problems.append(document.problem(("spec", "timeZone"), f"no time zone {zone!r}", hint=hint))
        held = self._fleet.objects.get(placed.owner)
        digest = digest_bytes(document.text.encode())
        action: Action = "created" if held is None else "unchanged" if held.digest == digest else "changed"
        if action != "unchanged":
            self._objects[placed.owner] = ObjectRow(
                placed.kind,
                placed.name,
                digest,
                document.text,
                document.file,
                _lines_before(document),
                placed.spec,
                placed.placement,
                self._author,
                self._at,
            )
        self._results.append(Result(placed.kind, placed.name, action))

    def _checked(self, document: Document, definition: Definition) -> Instance | None:
        try:
            held = self._fleet.instances.get(f"{definition.kind}/{document.name}")
            checked = check_instance(definition, document, held.spec if held else None)
        except InputError as error:
            self._problems += error.problems
            return None
        self._warnings += checked.warnings
        if checked.value.placement is None:
            problem = document.problem(("spec",), "no placement: it goes to no site", hint="add spec.placement")
            self._warnings.append(msgspec.structs.replace(problem, severity="warning"))
        return checked.value

    def _take_stored_instances(self) -> None:
        """Check and render again what is stored and not given now, where its blueprint changes."""
        for name, blueprint in self._blueprints.items():
            definition = self._definitions[blueprint.kind][1]
            for held in self._rows(name):
                if held.owner in self._documents or held.pin not in (0, blueprint.revision):
                    continue
                document = stored_document(held)
                instance = self._checked(document, definition)
                if instance is None:
                    continue
                row = self._row(document, instance, (blueprint, definition), author=held.author, at=held.at)
                if row is not None:
                    self._documents[held.owner] = document
                    if row != held:
                        self._instances[held.owner] = row

    def _row(
        self,
        document: Document,
        instance: Instance,
        found: tuple[BlueprintRow, Definition],
        *,
        author: str,
        at: int,
    ) -> InstanceRow | None:
        blueprint, definition = found
        owner = instance.owner
        self._used[owner] = definition
        try:
            resources = rendered_resources(definition, instance, blueprint.revision)
            program = program_of(definition, instance, blueprint.revision)
        except InputError as error:
            self._problems += error.problems
            return None
        held = self._fleet.instances.get(owner)
        revision = blueprint.revision
        if held is not None and (resources, program) == _at_revision(held, revision):
            # nothing a site would see: keep what it was told
            resources, program, revision = held.resources, held.program, held.revision
        return InstanceRow(
            instance.kind,
            instance.name,
            blueprint.name,
            digest_bytes(document.text.encode()),
            document.text,
            document.file,
            _lines_before(document),
            revision,
            instance.values,
            instance.placement,
            resources,
            author,
            at,
            pin=read_pin(document),
            program=program,
        )


def _at_revision(held: InstanceRow, revision: int) -> tuple[tuple[Resource, ...], Program | None]:
    resources = tuple(msgspec.structs.replace(each, revision=revision) for each in held.resources)
    return resources, msgspec.structs.replace(held.program, revision=revision) if held.program else None


def rendered_resources(definition: Definition, instance: Instance, revision: int) -> tuple[Resource, ...]:
    """Return the resources an instance becomes at each of its sites. Raises InputError."""
    rendered = render(definition, instance)
    keys: dict[str, list[ResourceKey]] = {}
    for each in rendered:
        keys.setdefault(each.id, []).append(resource_key(each.body))
    return tuple(
        resource(
            each.body,
            id=each.id,
            instance=instance.owner,
            blueprint=definition.name,
            revision=revision,
            depends_on=tuple(key for name in each.depends_on for key in keys.get(name, ())),
        )
        for each in rendered
    )


def _lines_before(document: Document) -> int:
    """Return how many lines of its file come before a document's own text."""
    (alone,) = read_documents(document.text)
    return document.place()[0] - alone.place()[0]
