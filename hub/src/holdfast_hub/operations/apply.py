"""Apply what files describe, all of it or nothing; and take away by name."""

from collections.abc import Callable, Sequence

import msgspec

from holdfast_hub.operations.fleet import Change
from holdfast_hub.operations.hub import Enacted, Hub, Note
from holdfast_hub.operations.proposal import Proposal, Proposing, Result, SourceFile
from holdfast_hub.store import blueprints
from holdfast_protocol.errors import ConflictError, Problem
from holdfast_protocol.wire.names import SiteName


class Applied(msgspec.Struct, frozen=True):
    results: tuple[Result, ...]
    warnings: tuple[Problem, ...]
    sites: list[str]  # whose target changed
    audit: int  # id of the audit event; 0 when nothing was written


class Deleted(msgspec.Struct, frozen=True):
    deleted: str  # Kind/name
    sites: list[str]  # whose target changed


async def apply(
    hub: Hub, files: Sequence[SourceFile], *, author: str, dry_run: bool = False, force: bool = False
) -> Applied:
    """Create or change what the files describe, atomically. Raises InputError with every problem.

    `force` accepts breaking changes of schemas; instances that no longer fit are refused all the same.
    """

    def applying() -> tuple[Proposal, Enacted]:
        proposal = proposed(hub, files, author=author, force=force)
        changed = [each for each in proposal.results if each.action != "unchanged"]
        detail = [f"{each.action} {each.kind}/{each.name}" for each in changed]
        subjects = tuple(f"{each.kind}/{each.name}" for each in changed)
        note = Note(author, "apply", subjects, {"documents": detail, **({"forced": True} if force else {})})
        nothing = not proposal.change.blueprints and not proposal.change.instances
        return proposal, hub.enact(proposal.change, note, dry_run=dry_run or nothing)

    proposal, enacted = await hub.database.call(applying)
    hub.tell(enacted)
    return Applied(proposal.results, proposal.warnings, [str(site) for site in enacted.sites], enacted.event)


def proposed(hub: Hub, files: Sequence[SourceFile], *, author: str, force: bool) -> Proposal:
    """Return the checked proposal of some files; for the database's thread."""
    with hub.database.reading() as connection:
        proposing = Proposing(
            hub.fleet,
            lambda name: blueprints.next_revision(connection, name),
            author=author,
            at=hub.now(),
            force=force,
        )
        return proposing.propose(files)


async def delete_blueprint(hub: Hub, name: str, *, author: str) -> Deleted:
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
        return hub.enact(Change(blueprints={row.name: None}), Note(author, "delete", (f"Blueprint/{name}",)))

    return await _deleted(hub, deleting, f"Blueprint/{name}")


async def delete_instance(hub: Hub, name: str, *, author: str) -> Deleted:
    """Take an instance away; its sites get targets without its resources. `name` is Kind/name, or a name only one has."""
    row = await hub.store.read(lambda _: hub.fleet.instance(name))

    def deleting() -> Enacted:
        owner = hub.fleet.instance(row.owner).owner
        return hub.enact(Change(instances={owner: None}), Note(author, "delete", (owner,)))

    return await _deleted(hub, deleting, row.owner)


async def delete_site(hub: Hub, name: str, *, author: str) -> Deleted:
    """Forget a site. What runs there goes on running: nobody told it otherwise."""

    def deleting() -> Enacted:
        row = hub.fleet.site(name).row
        return hub.enact(Change(sites={row.name: None}), Note(author, "delete", (f"Site/{name}",)))

    deleted = await _deleted(hub, deleting, f"Site/{name}")
    hub.keys.forget(SiteName(name))
    return deleted


async def _deleted(hub: Hub, deleting: Callable[[], Enacted], subject: str) -> Deleted:
    enacted = await hub.database.call(deleting)
    hub.tell(enacted)
    return Deleted(subject, [str(site) for site in enacted.sites])
