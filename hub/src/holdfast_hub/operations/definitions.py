"""Blueprints of the files and of the store, while files become a change: which one defines what."""

import difflib
from collections.abc import Callable

import msgspec

from holdfast_hub.blueprint.change import definition_changes
from holdfast_hub.blueprint.pin import ANNOTATION, read_pin
from holdfast_hub.operations.findings import Action, Findings, Result
from holdfast_hub.operations.fleet import Fleet
from holdfast_hub.operations.instance_rows import lines_before
from holdfast_hub.operations.intake import defined_kind
from holdfast_hub.store.blueprints import BlueprintRow
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.errors import InputError
from holdfast_protocol.wire.digest import digest_bytes

Found = tuple[BlueprintRow, Definition]


class Definitions:
    """`next_revision` gives a changed blueprint its next revision, `revision` finds an older one.

    `force`: a breaking change of a stored blueprint's schema is only warned of.
    """

    def __init__(
        self,
        fleet: Fleet,
        findings: Findings,
        next_revision: Callable[[str], int],
        revision: Callable[[str, int], BlueprintRow | None],
        *,
        author: str,
        at: int,
        force: bool,
    ) -> None:
        self._fleet = fleet
        self._findings = findings
        self._next_revision = next_revision
        self._revision = revision
        self._author = author
        self._at = at
        self._force = force
        self._definitions: dict[str, Found] = {}  # of these files, by kind
        self._broken: set[str] = set()  # kinds whose blueprint was refused: their instances are not judged
        self.changed: dict[str, BlueprintRow] = {}  # new and changed ones, by name

    def given(self) -> dict[str, Definition]:
        """Return the definitions of the files, by the kind they define."""
        return {kind: definition for kind, (_, definition) in self._definitions.items()}

    def take(self, document: Document) -> None:
        """Take a blueprint of the files in, or find out why not."""
        try:
            checked = check_blueprint(document)
        except InputError as error:
            self._findings.problems += error.problems
            self._broken.add(defined_kind(document))
            return
        self._findings.warnings += checked.warnings
        definition = checked.value
        name, kind = definition.name, definition.kind
        if name in self.changed:
            self._findings.problems.append(document.problem((), f"Blueprint {name!r} is given twice"))
            return
        other = self._fleet.of_kind(kind)
        if kind in self._definitions:
            other = self._definitions[kind][0]
        if other is not None and other.name != name:
            self._findings.problems.append(
                document.problem(
                    ("spec", "schema", "kind"), f"kind {kind} is already defined by Blueprint {other.name!r}"
                )
            )
            return
        held = self._fleet.blueprints.get(name)
        digest = digest_bytes(document.text.encode())
        if held is not None and held.kind != kind and any(row.kind == held.kind for row in self.rows(name)):
            self._findings.problems.append(
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
                lines_before(document),
                self._author,
                self._at,
            )
            self.changed[name] = row
            action = "created" if held is None else "changed"
        self._definitions[kind] = (row, definition)
        self._findings.results.append(Result("Blueprint", name, msgspec.convert(action, Action), row.revision))

    def of(self, document: Document) -> Found | None:
        """Return the revision an instance is to be rendered from: the one it asks to keep, or the newest."""
        found = self._newest_of(document)
        return self._pinned(document, found) if found is not None else None

    def rows(self, blueprint: str) -> list[InstanceRow]:
        """Return the stored instances of a blueprint."""
        return [row for row in self._fleet.instances.values() if row.blueprint == blueprint]

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
                self._findings.warn(problem)
            else:
                self._findings.problems.append(problem)

    def _newest_of(self, document: Document) -> Found | None:
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
        self._findings.problems.append(
            document.problem(("kind",), f"no blueprint defines kind {document.kind}", hint=hint)
        )
        return None

    def _pinned(self, document: Document, found: Found) -> Found | None:
        """Return the revision a document asks to keep, the newest when it asks for none."""
        path = ("metadata", "annotations", ANNOTATION)
        try:
            pin = read_pin(document)
            if pin in (0, found[0].revision):
                return found
            row = self._revision(found[0].name, pin)
            definition = self._fleet.definition(row) if row is not None else None
        except InputError as error:
            self._findings.problems += error.problems
            return None
        if row is None or definition is None or definition.kind != document.kind:
            text = f"Blueprint {found[0].name!r} has no revision {pin} of kind {document.kind}"
            hint = f"the newest is {found[0].revision}; see holdfast describe blueprint {found[0].name}"
            self._findings.problems.append(document.problem(path, text, hint=hint))
            return None
        return row, definition
