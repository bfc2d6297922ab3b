"""Apply what files describe, all of it or nothing; and take away by name. A dry run checks all the same."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from holdfast_hub.blueprint.plain import MADE_FROM, Words
from holdfast_hub.operations.findings import Result
from holdfast_hub.operations.fleet import Change, stored_document
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.operations.places import KINDS, keep_places
from holdfast_hub.operations.proposal import Proposal, Proposing
from holdfast_hub.store import blueprints
from holdfast_hub.store.holds import HoldRow
from holdfast_protocol.errors import ConflictError, Problem, TransientError
from holdfast_protocol.wire.names import SiteName

NO_WORDS: Final = Words()


class Applied(msgspec.Struct, frozen=True):
    results: tuple[Result, ...]
    warnings: tuple[Problem, ...]
    sites: list[str]  # whose target changed
    audit: int  # id of the audit event; 0 when nothing was written
    unplaced: list[str] = []  # Kind/name of instances that were created or changed and are on no site


class Deleted(msgspec.Struct, frozen=True):
    deleted: str  # Kind/name
    sites: list[str]  # whose target changed


async def apply(
    hub: Hub,
    files: Sequence[SourceFile],
    *,
    author: str,
    dry_run: bool = False,
    force: bool = False,
    words: Words = NO_WORDS,
) -> Applied:
    """Create or change what the files describe, atomically. Raises InputError with every problem.

    `force` accepts breaking changes of schemas; instances that no longer fit are refused all the same. `words` are of the
    plain manifests among them.
    """

    def applying() -> tuple[Proposal, Enacted]:
        proposal = proposed(hub, files, author=author, force=force, words=words)
        changed = [each for each in proposal.results if each.action != "unchanged"]
        detail = [f"{each.action} {each.kind}/{each.name}" for each in changed]
        subjects = tuple(f"{each.kind}/{each.name}" for each in changed)
        note = Note(author, "apply", subjects, {"documents": detail, **({"forced": True} if force else {})})
        nothing = proposal.change == Change()
        return proposal, hub.enact(proposal.change, note, dry_run=dry_run or nothing)

    proposal, enacted = await hub.database.call(applying)
    await _told(hub, enacted)
    warnings = (*proposal.warnings, *enacted.warnings)
    sites = [str(site) for site in enacted.sites]
    return Applied(proposal.results, warnings, sites, enacted.event, list(enacted.unplaced))


def proposed(
    hub: Hub, files: Sequence[SourceFile], *, author: str, force: bool, words: Words | None = NO_WORDS
) -> Proposal:
    """Return the checked proposal of some files; for the database's thread."""
    with hub.database.reading() as connection:
        proposing = Proposing(
            hub.fleet,
            lambda name: blueprints.next_revision(connection, name),
            lambda name, revision: blueprints.find(connection, name, revision),
            author=author,
            at=hub.now(),
            force=force,
        )
        return proposing.propose(files, words)


async def delete_blueprint(hub: Hub, name: str, *, author: str, dry_run: bool = False) -> Deleted:
    """Raises NotFoundError, and ConflictError while instances of it exist."""

    def deleting() -> Enacted:
        row = hub.fleet.blueprint(name)
        held = sorted(each.owner for each in hub.fleet.instances.values() if each.blueprint == name)
        if held:
            some = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
            raise ConflictError(
                f"Blueprint {name!r} has instances: {some}",
                reason="HasInstances",
                resource=f"Blueprint/{name}",
                hint="delete its instances first",
            )
        note = Note(author, "delete", (f"Blueprint/{name}",))
        return hub.enact(Change(blueprints={row.name: None}), note, dry_run=dry_run)

    return await _deleted(hub, deleting, f"Blueprint/{name}")


async def delete_instance(hub: Hub, name: str, *, author: str, dry_run: bool = False) -> Deleted:
    """Take an instance away; its sites get targets without its resources. `name` is Kind/name, or a name only one has.

    What was made of plain manifests goes with its blueprint.
    """
    row = await hub.store.read(lambda _: hub.fleet.instance(name))

    def deleting() -> Enacted:
        held = hub.fleet.instance(row.owner)
        of_one = _is_of_manifests(hub, held.blueprint)
        change = Change({held.blueprint: None} if of_one else {}, {held.owner: None})
        return hub.enact(change, Note(author, "delete", (held.owner,)), dry_run=dry_run)

    return await _deleted(hub, deleting, row.owner)


def _is_of_manifests(hub: Hub, blueprint: str) -> bool:
    metadata = stored_document(hub.fleet.blueprints[blueprint]).value["metadata"]
    others = sum(1 for each in hub.fleet.instances.values() if each.blueprint == blueprint)
    return MADE_FROM in (metadata.get("annotations") or {}) and others == 1


async def delete_object(hub: Hub, kind: str, name: str, *, author: str, dry_run: bool = False) -> Deleted:
    """Take a placed object away; its sites get targets without it. Raises NotFoundError."""

    def deleting() -> Enacted:
        owner = hub.fleet.object(kind, name).owner
        return hub.enact(Change(objects={owner: None}), Note(author, "delete", (owner,)), dry_run=dry_run)

    return await _deleted(hub, deleting, f"{kind}/{name}")


async def delete_site(hub: Hub, name: str, *, author: str, dry_run: bool = False) -> Deleted:
    """Forget a site. What runs there goes on running: nobody told it otherwise."""

    def deleting() -> Enacted:
        row = hub.fleet.site(name).row
        holds: dict[str, HoldRow | None] = {each.id: None for each in hub.fleet.holds.values() if each.site == row.name}
        note = Note(author, "delete", (f"Site/{name}",))
        return hub.enact(Change(sites={row.name: None}, holds=holds), note, dry_run=dry_run)

    deleted = await _deleted(hub, deleting, f"Site/{name}")
    if not dry_run:
        hub.keys.forget(SiteName(name))
    return deleted


async def _deleted(hub: Hub, deleting: Callable[[], Enacted], subject: str) -> Deleted:
    enacted = await hub.database.call(deleting)
    await _told(hub, enacted)
    return Deleted(subject, [str(site) for site in enacted.sites])


async def _told(hub: Hub, enacted: Enacted) -> None:
    """Tell what was committed; sinks and bridges have their place when it is answered."""
    hub.tell(enacted)
    if enacted.event and any(owner.partition("/")[0] in KINDS for owner in enacted.change.objects):
        with contextlib.suppress(TransientError):  # a full disk: their loops try again
            await keep_places(hub)
