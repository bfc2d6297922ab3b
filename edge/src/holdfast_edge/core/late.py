"""Late resources: what a site decides itself, brought together with what its target says.

Only a decision removes: while nobody can say what a late resource should be, what is owned of it stays at the body last
applied. [inv: nothing-is-removed-because-of-time] A late resource takes nothing over: what another has keeps its owner.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from holdfast_edge.core import order
from holdfast_edge.core.diff import Owned
from holdfast_edge.core.programs import Judged
from holdfast_edge.core.sights import Body
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.labels import is_dns_label, is_dns_subdomain
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey, resource_key
from holdfast_protocol.wire.program import Late, Program, ProgramInstance
from holdfast_protocol.wire.target import MAX_KEY, MAX_RESOURCES, Resource, resource

NOT_YET: Final = Condition("Waiting", "NotEvaluated", "not evaluated yet")


class Row(msgspec.Struct, frozen=True):
    """A late resource that has no key yet, or may not have the one it wants."""

    instance: str
    condition: Condition


class Decision(msgspec.Struct, frozen=True):
    """What is wanted altogether. `kept` says of what stays as last applied why; `rows` go by names no resource can have."""

    wanted: dict[ResourceKey, Resource]
    kept: dict[ResourceKey, Condition] = {}
    rows: dict[ResourceKey, Row] = {}


def decide(
    wanted: Mapping[ResourceKey, Resource],
    programs: Sequence[Program],
    judged: Mapping[str, Judged | Condition],
    owned: Mapping[ResourceKey, Owned],
    known: dict[str, tuple[str, ...]] | None = None,
) -> Decision:
    """Return the target's resources together with the late ones. `judged` is by instance; a Condition, or nothing, where
    it could not be evaluated. `known` remembers claims by digest from call to call."""
    return _Deciding(wanted, judged, owned, {} if known is None else known).decision(programs)


class _Deciding:
    def __init__(
        self,
        wanted: Mapping[ResourceKey, Resource],
        judged: Mapping[str, Judged | Condition],
        owned: Mapping[ResourceKey, Owned],
        known: dict[str, tuple[str, ...]],
    ) -> None:
        self._wanted = dict(wanted)
        self._known = known
        self._judged = judged
        self._owned = owned
        self._careful = False  # some of the late resources need each other, or the target's, in a circle
        self._after: dict[ResourceKey, frozenset[ResourceKey]] = {}  # what each of `_wanted` comes after, when careful
        self._kept: dict[ResourceKey, Condition] = {}
        self._rows: dict[ResourceKey, Row] = {}
        self._by_origin: dict[tuple[str, str], list[ResourceKey]] = {}
        for key, one in wanted.items():
            self._by_origin.setdefault((one.instance, one.id), []).append(key)
        self._held: dict[tuple[str, str], list[ResourceKey]] = {}
        for key in sorted(owned):
            self._held.setdefault((owned[key].instance, owned[key].id), []).append(key)
        from holdfast_protocol.kinds import claims  # every kind with it: only for targets with programs

        self._claims = claims
        self._claimed = claims.Claimed()
        for one in wanted.values():
            self._claim(one)

    def decision(self, programs: Sequence[Program]) -> Decision:
        late = [
            (program, instance, each)
            for program in programs
            for instance in program.instances
            for each in instance.late
        ]
        for program, instance, each in late:
            if (condition := self._open(instance, each)) is not None:
                self._keep(program, instance, each, condition)
        made = []
        for place, (program, instance, each) in enumerate(late):
            judged = self._judged.get(instance.owner)
            for body in judged.made.get(each.id, ()) if isinstance(judged, Judged) else ():
                one = self._resource(program, instance, each, body)
                thing = self._owned.get(one.key)
                ours = thing is not None and (thing.instance, thing.id) == (one.instance, one.id)
                made.append((not ours, place, one.key, one, each))
        made.sort(key=lambda entry: entry[:3])
        self._careful = _has_circle([*self._wanted.values(), *(one for *_, one, _ in made)])
        if self._careful:
            self._after = {key: order.after(one) for key, one in self._wanted.items()}
        for *_, one, each in made:
            self._take(one, each)
        return Decision(self._wanted, self._kept, self._rows)

    def _open(self, instance: ProgramInstance, late: Late) -> Condition | None:
        judged = self._judged.get(instance.owner, NOT_YET)
        return judged.open.get(late.id) if isinstance(judged, Judged) else judged

    def _keep(self, program: Program, instance: ProgramInstance, late: Late, condition: Condition) -> None:
        held = [key for key in self._held.get((instance.owner, late.id), ()) if key not in self._wanted]
        for key in held:
            thing = self._owned[key]
            self._wanted[key] = resource(
                thing.body,
                id=late.id,
                instance=instance.owner,
                blueprint=program.blueprint,
                revision=program.revision,
                depends_on=thing.depends_on,
            )
            self._claim(self._wanted[key])
            self._kept[key] = condition
        if not held:
            self._rows[_row_key(instance.owner, late)] = Row(instance.owner, condition)

    def _resource(self, program: Program, instance: ProgramInstance, late: Late, body: Body) -> Resource:
        judged = self._judged[instance.owner]
        assert isinstance(judged, Judged)
        needs = sorted(judged.needs.get(late.id, ()))
        after = [key for each in needs for key in self._by_origin.get((instance.owner, each), ())]
        after += [resource_key(other) for each in needs for other in judged.made.get(each, ())]
        return resource(
            body,
            id=late.id,
            instance=instance.owner,
            blueprint=program.blueprint,
            revision=program.revision,
            depends_on=tuple(dict.fromkeys(after)),
        )

    def _take(self, one: Resource, late: Late) -> None:
        refusal = self._refusal(one)
        if refusal is None:
            self._wanted[one.key] = one
            return
        key = _row_key(one.instance, late)
        while key in self._rows:  # of several items of a collection
            key = ResourceKey(f"{key}+")
        self._rows[key] = Row(one.instance, refusal)

    def _refusal(self, one: Resource) -> Condition | None:
        metadata = one.body["metadata"]
        name, namespace = metadata.get("name"), metadata.get("namespace")
        if not isinstance(name, str) or not is_dns_subdomain(name) or len(one.key) > MAX_KEY:
            return Condition("Failed", "BadName", f"metadata.name {str(name)[:80]!r} is no name")
        if namespace is not None and (not isinstance(namespace, str) or not is_dns_label(namespace)):
            return Condition("Failed", "BadName", f"metadata.namespace {str(namespace)[:80]!r} is no namespace")
        if not isinstance(one.body.get("spec") or {}, dict):
            return Condition("Failed", "BadShape", "spec must be a map")
        if len(self._wanted) >= MAX_RESOURCES:
            return Condition("Failed", "TooMany", f"more than {MAX_RESOURCES} resources at this site")
        claim, key = (one.key, one.key) if one.key in self._wanted else self._claim(one)
        if key in self._wanted:
            said = f"{claim} is claimed by {self._wanted[key].instance or key} already"
            return Condition("Failed", "Claimed", said, hint="give it another name")
        if self._careful:
            self._after[one.key] = order.after(one)
            if circle := order.circle(one.key, self._after):
                del self._after[one.key]
                said = f"resources depend on each other: {' -> '.join(circle)}"
                return Condition("Failed", "DependencyCycle", said[:500])
        return None

    def _claim(self, one: Resource) -> tuple[str, ResourceKey]:
        """Note what a resource claims; return what somebody else has already, and who, "" for nobody."""
        if one.digest not in self._known:
            self._known[one.digest] = self._claims.claims(one.body)
        first = ("", ResourceKey(""))
        for claim in self._known[one.digest]:
            holder = self._wanted.get(ResourceKey(self._claimed.take(claim, one.key)))
            shared = claim.startswith(self._claims.VOLUME) and holder is not None and holder.instance == one.instance
            if holder is not None and not shared and not first[0]:
                first = (claim, holder.key)
        return first


def _has_circle(resources: Sequence[Resource]) -> bool:
    try:
        order.sequence(order.dependencies(resources))
    except WireError:
        return True
    return False


def _row_key(owner: str, late: Late) -> ResourceKey:
    return ResourceKey(f"{late.kind}/{owner}:{late.id}")
