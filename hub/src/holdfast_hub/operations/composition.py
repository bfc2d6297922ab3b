"""Composing what a site should be from everything placed there: instances, overlays laid over them, policies and the like."""

from collections.abc import Iterator, Sequence

import msgspec

from holdfast_hub.blueprint.overlay import Fault, Overlay, overlaid
from holdfast_hub.blueprint.placed import contents
from holdfast_hub.core.labelling import labelled
from holdfast_hub.core.target import Composed, Contribution, at_site, compose
from holdfast_hub.operations.fleet import Fleet, stored_document
from holdfast_hub.store.objects import ObjectRow
from holdfast_protocol.blueprint import policy
from holdfast_protocol.blueprint.policy import Violation
from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.claims import claims
from holdfast_protocol.wire.names import Digest, SiteName
from holdfast_protocol.wire.target import Resource
from holdfast_protocol.wire.windows import MAX_WINDOWS


class Composing:
    """Composes contents for one change of a fleet; what several sites share is composed and judged once."""

    def __init__(self, fleet: Fleet, now: int) -> None:
        """`now` in milliseconds: holds that are over by then are left out."""
        self._fleet = fleet
        self._now = now
        self._composed: dict[tuple[str, ...], Composed] = {}
        self._claims: dict[Digest, tuple[str, ...]] = {}
        self._judged: dict[tuple[tuple[str, ...], str, str, str], tuple[Violation, ...]] = {}

    def composed(self, placed: tuple[str, ...]) -> Composed:
        """Return the content of every site on which exactly this is placed; `placed` as `Fleet.placed` returns it."""
        if placed not in self._composed:
            self._composed[placed] = self._compose(placed)
        return self._composed[placed]

    def at(self, site: SiteName) -> Composed:
        """Return the content of one site, its own holds and time zone with it."""
        holds = [row.carried() for row in self._fleet.holds_at(site, self._now)]
        row = self._fleet.site(site).row
        composed = labelled(self.composed(self._fleet.placed(site)), row.labels)
        return at_site(composed, holds, row.time_zone)

    def _compose(self, placed: tuple[str, ...]) -> Composed:
        objects = self._fleet.objects_of(placed)
        contributions = self._fleet.contributions(placed)
        faults: list[Fault] = []
        if overlays := [Overlay(row.name, row.spec) for row in objects if row.kind == "Overlay"]:
            changed, faults = overlaid({each.owner: each.resources for each in contributions}, overlays)
            contributions = [msgspec.structs.replace(each, resources=changed[each.owner]) for each in contributions]
        fields, features = contents((row.kind, row.name, row.spec) for row in objects)
        composed = compose(contributions, fields, features, self._claims_of)
        broken = [self._fault(each) for each in faults]
        if len(composed.content.windows) > MAX_WINDOWS:
            broken.append(Problem(f"{len(composed.content.windows)} windows at one site, the limit is {MAX_WINDOWS}"))
        problems = [each for each in broken if each.severity == "error"]
        problems += self._violations(contributions, [row for row in objects if row.kind == "Policy"])
        return msgspec.structs.replace(
            composed,
            problems=(*composed.problems, *problems),
            warnings=tuple(each for each in broken if each.severity == "warning"),
        )

    def _claims_of(self, resource: Resource) -> tuple[str, ...]:
        if resource.digest not in self._claims:
            self._claims[resource.digest] = claims(resource.body)
        return self._claims[resource.digest]

    def _fault(self, fault: Fault) -> Problem:
        document = stored_document(self._fleet.object("Overlay", fault.overlay))
        text = f"{fault.resource}: {fault.message}" if fault.resource else fault.message
        problem = document.problem(("spec", "patches", fault.patch), text)
        return msgspec.structs.replace(problem, severity="error" if fault.resource else "warning")

    def _violations(self, contributions: Sequence[Contribution], rows: Sequence[ObjectRow]) -> Iterator[Problem]:
        if not rows:
            return
        policies = [policy.compiled(policy.entry(row.name, row.spec)) for row in rows]
        which = tuple(row.name for row in rows)
        for contribution in contributions:
            for resource in contribution.resources:
                known = (which, contribution.owner, resource.key, resource.digest)
                if known not in self._judged:
                    self._judged[known] = policy.violations(policies, resource)
                for violation in self._judged[known]:
                    yield Problem(
                        f"{violation}: {resource.key} of {contribution.owner}",
                        resource=contribution.owner,
                        path=f"resources[{resource.id}]" if resource.id else "",
                        hint=f"holdfast describe policy {violation.policy}",
                    )
