"""Instances as plain files that need no hub any more: each blueprint's, or all that one site should be."""

from collections.abc import Mapping, Sequence

import msgspec

from holdfast_hub.blueprint.eject import INSTALL, eject
from holdfast_hub.blueprint.instance import Instance, check_instance
from holdfast_hub.blueprint.leaving.script import of_folders
from holdfast_hub.blueprint.render import Rendered
from holdfast_hub.operations.apply import proposed
from holdfast_hub.operations.composition import Composing
from holdfast_hub.operations.fleet import stored_document
from holdfast_hub.operations.hub import Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.store import blueprints
from holdfast_hub.store.instances import InstanceRow
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.errors import InputError, NotFoundError, Problem
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource


class Ejected(msgspec.Struct, frozen=True):
    files: dict[str, str]  # relative path: text
    warnings: tuple[Problem, ...] = ()
    encoded: list[str] = []  # paths of files whose text is base64 of what is no text
    modes: dict[str, int] = {}  # of files that are not to have 0644; 0600: they hold secrets


async def eject_blueprints(hub: Hub, files: Sequence[SourceFile], *, blueprint: str = "", author: str = "") -> Ejected:
    """Return plain files for every instance of the blueprints given, or stored; of one blueprint when named."""

    def ejecting() -> Ejected:
        found: dict[str, tuple[Definition, Document]] = {}
        warnings: tuple[Problem, ...] = ()
        if files:
            proposal = proposed(hub, files, author=author, force=True, words=None)
            warnings = proposal.warnings
            hub.enact(proposal.change, Note(author, "eject", ()), dry_run=True)
            for owner, document in proposal.documents.items():
                found[owner] = (proposal.used[owner], document)
        given = {definition.name for definition, _ in found.values()}
        if files:
            given |= {definition.name for definition in proposal.definitions.values()}
        for row in hub.fleet.instances.values():
            if row.owner not in found and (not files or row.blueprint in given):
                found[row.owner] = (_definition(hub, row), stored_document(row))
        gathering = Gathering()
        gathering.warn(warnings)
        for _, (definition, document) in sorted(found.items()):
            if not blueprint or definition.name == blueprint:
                gathering.add(definition, check_instance(definition, document).value)
        if blueprint and not gathering.folders and blueprint not in given:
            hub.fleet.blueprint(blueprint)
        return gathering.ejected

    return await hub.database.call(ejecting)


async def eject_site(hub: Hub, name: str) -> Ejected:
    """Return plain files for everything a site should be, its overlays laid over, with a script for all of it.

    Raises InputError when what is placed there cannot stand together.
    """

    def ejecting() -> Ejected:
        fleet = hub.fleet
        site = fleet.site(SiteName(name)).row.name
        composed = Composing(fleet, hub.now()).at(site)
        if composed.problems:
            raise InputError(list(composed.problems))
        around = {each.key: each for each in composed.content.resources}
        gathering = Gathering()
        gathering.warn(composed.warnings)
        for owner in fleet.owners(site):
            row = fleet.instances[owner]
            definition = _definition(hub, row)
            own = [each for each in composed.content.resources if each.instance == owner]
            instance = check_instance(definition, stored_document(row)).value
            gathering.add(definition, instance, _rendered(definition, own), around)
        made = gathering.ejected
        if not made.files:
            return made
        files = {**made.files, INSTALL: of_folders(gathering.folders)}
        return msgspec.structs.replace(made, files=files, modes={**made.modes, INSTALL: 0o755})

    return await hub.database.call(ejecting)


class Gathering:
    """Collects the folders of several instances; of two with one name the second is called KIND.NAME."""

    def __init__(self) -> None:
        self.ejected = Ejected({})
        self.folders: list[str] = []

    def add(
        self,
        definition: Definition,
        instance: Instance,
        rendered: Sequence[Rendered] | None = None,
        around: Mapping[ResourceKey, Resource] | None = None,
    ) -> None:
        """Eject one more. Raises InputError."""
        name = instance.name if instance.name not in self.folders else f"{definition.kind}.{instance.name}"
        folder = eject(definition, instance, name=name, rendered=rendered, around=around)
        self.folders.append(name)
        self.warn(folder.warnings)
        self.ejected = msgspec.structs.replace(
            self.ejected,
            files={**self.ejected.files, **folder.files},
            encoded=[*self.ejected.encoded, *folder.encoded],
            modes={**self.ejected.modes, **folder.modes},
        )

    def warn(self, warnings: Sequence[Problem]) -> None:
        self.ejected = msgspec.structs.replace(self.ejected, warnings=(*self.ejected.warnings, *warnings))


def _rendered(definition: Definition, resources: Sequence[Resource]) -> list[Rendered]:
    """Return a site's resources of one instance as what renders to them, those of a collection counted."""
    counted = {node.id for node in definition.nodes if node.kind == "Collection"}
    counts: dict[str, int] = {}
    found = []
    for each in resources:
        index = counts.get(each.id, 0) if each.id in counted else None
        counts[each.id] = counts.get(each.id, 0) + 1
        found.append(Rendered(each.id, each.body, (), index))
    return found


def _definition(hub: Hub, row: InstanceRow) -> Definition:
    """Return what a stored instance is rendered from: the newest revision of its blueprint, or the one it keeps."""
    newest = hub.fleet.blueprint(row.blueprint)
    if row.pin in (0, newest.revision):
        return hub.fleet.definition(newest)
    with hub.database.reading() as connection:
        pinned = blueprints.find(connection, row.blueprint, row.pin)
    if pinned is None:
        raise NotFoundError(f"no revision {row.pin} of Blueprint {row.blueprint!r}", resource=row.owner)
    return hub.fleet.definition(pinned)
