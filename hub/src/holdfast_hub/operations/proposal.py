"""From files to a checked change: every document, in any order, and everything that depends on it.

All problems are found before any is raised: each file's reading, each blueprint, each instance against the blueprint of
its kind (a new one before a stored one), each stored instance whose blueprint changes, and every rendering.
"""

from collections.abc import Callable, Sequence

import msgspec

from holdfast_hub.blueprint.instance import Instance, check_instance
from holdfast_hub.blueprint.placed import check_placed, is_placed
from holdfast_hub.blueprint.plain import Words
from holdfast_hub.operations.definitions import Definitions, Found
from holdfast_hub.operations.findings import Action, Findings, Result
from holdfast_hub.operations.fleet import Change, Fleet, stored_document
from holdfast_hub.operations.instance_rows import advice, instance_row, lines_before
from holdfast_hub.operations.intake import SourceFile, documents_of
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_hub.store.objects import ObjectRow
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.blueprint.names import is_blueprint
from holdfast_protocol.errors import InputError, Problem
from holdfast_protocol.runtime import zones
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.windows import KIND as WINDOW


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
        self._findings = Findings()
        self._definitions = Definitions(
            fleet, self._findings, next_revision, revision, author=author, at=at, force=force
        )
        self._author = author
        self._at = at
        self._instances: dict[str, InstanceRow] = {}
        self._objects: dict[str, ObjectRow] = {}
        self._documents: dict[str, Document] = {}
        self._used: dict[str, Definition] = {}

    def propose(self, files: Sequence[SourceFile], words: Words | None) -> Proposal:
        """Return the proposal; `words` are of the plain manifests. Raises InputError with every problem."""
        kinds = {row.kind for row in self._fleet.blueprints.values()}
        documents, problems = documents_of(files, kinds, words)
        self._findings.problems += problems
        for document in documents:
            if is_blueprint(document.kind):
                self._definitions.take(document)
        for document in documents:
            if is_placed(document):
                self._take_object(document)
            elif not is_blueprint(document.kind):
                self._take_instance(document)
        self._take_stored_instances()
        if self._findings.problems:
            raise InputError(self._findings.problems)
        return Proposal(
            Change(dict(self._definitions.changed), dict(self._instances), objects=dict(self._objects)),
            tuple(self._findings.results),
            tuple(self._findings.warnings),
            self._documents,
            self._definitions.given(),
            self._used,
        )

    def _take_instance(self, document: Document) -> None:
        found = self._definitions.of(document)
        instance = self._checked(document, found[1]) if found else None
        if found is None or instance is None:
            return
        owner = instance.owner
        if owner in self._documents:
            self._findings.problems.append(document.problem((), f"{owner} is given twice"))
            return
        row = self._row(document, instance, found, author=self._author, at=self._at)
        if row is None:
            return
        held = self._fleet.instances.get(owner)
        self._documents[owner] = document
        for problem in advice(document, row):
            self._findings.warn(problem)
        if held is not None and held.digest == row.digest:
            action: Action = "unchanged"  # as written; its resources may still follow a changed blueprint
            row = msgspec.structs.replace(row, author=held.author, at=held.at, file=held.file, line=held.line)
        else:
            action = "created" if held is None else "changed"
        if row != held:
            self._instances[owner] = row
        self._findings.results.append(Result(instance.kind, instance.name, action))

    def _take_object(self, document: Document) -> None:
        try:
            checked = check_placed(document)
        except InputError as error:
            self._findings.problems += error.problems
            return
        self._findings.warnings += checked.warnings
        placed = checked.value
        if any((each.kind, each.name) == (placed.kind, placed.name) for each in self._findings.results):
            self._findings.problems.append(document.problem((), f"{placed.owner} is given twice"))
            return
        zone = placed.spec.get("timeZone") if placed.kind == WINDOW else None
        if zone and zones.zone(zone) is None:
            hint = "an IANA name: Europe/Berlin"
            self._findings.problems.append(document.problem(("spec", "timeZone"), f"no time zone {zone!r}", hint=hint))
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
                lines_before(document),
                placed.spec,
                placed.placement,
                self._author,
                self._at,
            )
        self._findings.results.append(Result(placed.kind, placed.name, action))

    def _checked(self, document: Document, definition: Definition) -> Instance | None:
        try:
            held = self._fleet.instances.get(f"{definition.kind}/{document.name}")
            checked = check_instance(definition, document, held.spec if held else None)
        except InputError as error:
            self._findings.problems += error.problems
            return None
        self._findings.warnings += checked.warnings
        if checked.value.placement is None:
            problem = document.problem(("spec",), "no placement: it goes to no site", hint="add spec.placement")
            self._findings.warn(problem)
        return checked.value

    def _take_stored_instances(self) -> None:
        """Check and render again what is stored and not given now, where its blueprint changes."""
        for name, blueprint in self._definitions.changed.items():
            definition = self._definitions.given()[blueprint.kind]
            for held in self._definitions.rows(name):
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

    def _row(self, document: Document, instance: Instance, found: Found, *, author: str, at: int) -> InstanceRow | None:
        self._used[instance.owner] = found[1]
        held = self._fleet.instances.get(instance.owner)
        try:
            return instance_row(held, document, instance, found, author=author, at=at)
        except InputError as error:
            self._findings.problems += error.problems
            return None
