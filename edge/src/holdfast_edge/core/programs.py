"""Programs: what a target leaves to its site, evaluated from one look with the very code the hub renders by.

Pure, and without the expression library until a target has a program: compiling is where it is imported.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast_edge.core.sights import Body, Look, Reference, object_of, selects, unsettled
from holdfast_protocol.errors import InputError, UnsupportedError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.messages import Condition, ConditionType, InstanceStatus
from holdfast_protocol.wire.names import ResourceKey, resource_key
from holdfast_protocol.wire.program import Program, ProgramInstance
from holdfast_protocol.wire.target import Resource

if TYPE_CHECKING:
    from holdfast_protocol.blueprint.definition import Definition
    from holdfast_protocol.blueprint.evaluation import Evaluation, Outcome
    from holdfast_protocol.blueprint.node import Node

MAX_TEXT: Final = 300  # characters of one condition's message
MAX_STATUS: Final = 16 * 1024  # bytes as JSON of an instance's status: more is not sent
WITHOUT: Final = "this machine cannot evaluate expressions"


class Judged(msgspec.Struct, frozen=True):
    """What came of one instance. `made` are the late resources decided, by id; `open` why others are not, by id;
    `unmet` the resources that fail their readyWhen. `asked` are the objects outside the target it reads, `needs` the ids
    each late one comes after."""

    made: dict[str, tuple[Body, ...]] = {}
    open: dict[str, Condition] = {}
    unmet: dict[ResourceKey, Condition] = {}
    asked: frozenset[Reference] = frozenset()
    needs: dict[str, frozenset[str]] = {}
    status: InstanceStatus | None = None  # None: nothing could be evaluated


class Compiled:
    """A definition ready to be evaluated."""

    def __init__(self, value: dict[str, Any]) -> None:
        """Raises UnsupportedError `NoExpressions` where expressions cannot be evaluated, InputError for a definition that
        this version does not take."""
        try:
            from holdfast_protocol.blueprint import definition, documents, evaluation, yaml_text
        except ImportError as error:
            hint = "place it on a machine of x86-64 or ARM64 with glibc"
            raise UnsupportedError(f"{WITHOUT}: {error}", reason="NoExpressions", hint=hint) from error
        self._evaluate = evaluation.evaluate
        self.definition: Definition = definition.check_blueprint(documents.Document(value, yaml_text.Place(1, 1))).value

    def judge(self, instance: ProgramInstance, look: Look) -> Judged:
        """Return what an instance comes to in this look."""
        return _Judging(self.definition, instance, look).judged(self._evaluate)


def compiled(programs: Sequence[Program], held: Mapping[str, Compiled | Condition]) -> dict[str, Compiled | Condition]:
    """Return the definitions of programs by `name_of`, or why one cannot be used; those in `held` are not made again."""
    return {name: held[name] if name in held else _compiled(each) for each in programs if (name := name_of(each))}


def _compiled(program: Program) -> Compiled | Condition:
    try:
        return Compiled(program.definition)
    except UnsupportedError as error:
        return Condition("Unsupported", error.reason, error.message, hint=error.hint)
    except InputError as error:
        said = "; ".join(str(each) for each in error.problems[:3])[:MAX_TEXT]
        return Condition(
            "Failed", "BadProgram", f"the definition of {program.blueprint} is not understood here: {said}"
        )


def name_of(program: Program) -> str:
    """Return what a definition is compiled once for: its own text, whatever revisions and instances have it."""
    return strict.encode(program.definition).decode()


class _Judging:
    def __init__(self, definition: "Definition", instance: ProgramInstance, look: Look) -> None:
        self._definition = definition
        self._instance = instance
        self._look = look
        self._asked: set[Reference] = set()

    def judged(self, evaluate: Any) -> Judged:
        found: Evaluation = evaluate(self._definition, self._instance.schema, self._observe, self._unsettled)
        late = {each.id for each in self._instance.late}
        outcomes = {each.id: each for each in found.outcomes}
        made: dict[str, tuple[Body, ...]] = {}
        undecided: dict[str, Condition] = {}
        unmet: dict[ResourceKey, Condition] = {}
        for node in self._definition.nodes:
            outcome = outcomes[node.id]
            if outcome.unmet is not None and outcome.desired and not node.is_external:
                unmet[resource_key(outcome.desired[outcome.unmet])] = _unmet(outcome)
            if node.id not in late or outcome.state == "skipped":
                continue
            if node.is_external:
                if outcome.state != "ready":
                    undecided[node.id] = _open(outcome, outcomes)
            elif outcome.desired is not None:
                made[node.id] = outcome.desired
            else:
                undecided[node.id] = _open(outcome, outcomes)
        needs = {node.id: node.needs for node in self._definition.nodes if node.id in late}
        return Judged(made, undecided, unmet, frozenset(self._asked), needs, _status(self._instance.owner, found))

    def _observe(self, node: "Node", bodies: Sequence[Body]) -> Sequence[Body]:
        if node.kind == "ExternalCollection":
            return self._selected(bodies[0])
        if node.kind == "External":
            return self._external(bodies[0])
        return [object_of(one, seen) for one, seen in self._own(node, bodies) if seen is not None and seen.exists]

    def _unsettled(self, node: "Node", bodies: Sequence[Body]) -> str:
        if not node.is_external:
            return next((why for one, seen in self._own(node, bodies) if (why := unsettled(one, seen))), "")
        reference = _reference(bodies[0])
        held = self._held(reference) if reference.name else None
        if held is None and self._look.found.get(reference) is None:
            return f"nobody here can look for {reference.kind} {reference.name}".strip()
        fitting = [key for key, one in self._look.wanted.items() if self._fits(one, bodies[0])]
        blind = next((key for key in sorted(fitting) if key not in self._look.observed), "")
        return f"nobody could look at {blind}" if blind else ""

    def _own(self, node: "Node", bodies: Sequence[Body]) -> list[tuple[Resource, Any]]:
        """Return the resources a node made, each with what is seen of it; what is another's is not there for it."""
        found = []
        for body in bodies:
            one = self._look.wanted.get(resource_key(body))
            if one is not None and (one.instance, one.id) == (self._instance.owner, node.id):
                found.append((one, self._look.observed.get(one.key)))
        return found

    def _held(self, reference: Reference) -> Resource | None:
        metadata = {"name": reference.name, "namespace": reference.namespace}
        return self._look.wanted.get(resource_key({"kind": reference.kind, "metadata": metadata}))

    def _external(self, body: Body) -> Sequence[Body]:
        reference = _reference(body)
        held = self._held(reference)
        if held is None:
            self._asked.add(reference)
            return self._look.found.get(reference) or ()
        seen = self._look.observed.get(held.key)
        return [object_of(held, seen)] if seen is not None and seen.exists else []

    def _selected(self, body: Body) -> Sequence[Body]:
        reference = _reference(body)
        self._asked.add(reference)
        selector = body["metadata"].get("selector")
        own = [
            object_of(one, seen)
            for key, one in sorted(self._look.wanted.items())
            if self._fits(one, body) and (seen := self._look.observed.get(key)) is not None and seen.exists
        ]
        there = {resource_key(each) for each in own}
        others = [
            each
            for each in self._look.found.get(reference) or ()
            if resource_key(each) not in there and selects(selector, each["metadata"].get("labels"))
        ]
        return [*own, *others]

    def _fits(self, one: Resource, body: Body) -> bool:
        metadata, own = body["metadata"], one.body["metadata"]
        if one.kind != body["kind"] or metadata.get("namespace", own.get("namespace")) != own.get("namespace"):
            return False
        if "selector" in metadata:
            return selects(metadata["selector"], own.get("labels"))
        return bool(one.name == metadata.get("name"))


def _reference(body: Body) -> Reference:
    metadata = body["metadata"]
    return Reference(str(body["kind"]), str(metadata.get("name") or ""), str(metadata.get("namespace") or ""))


def _unmet(outcome: "Outcome") -> Condition:
    broken = any(not each.absent for each in outcome.failures)
    return Condition("Degraded" if broken else "Progressing", "ReadyWhen", outcome.why[:MAX_TEXT])


def _open(outcome: "Outcome", outcomes: Mapping[str, "Outcome"]) -> Condition:
    """Return why a node is not decided: with the place of what cannot be evaluated, or the end of what it waits for."""
    wrong = next((each for each in outcome.failures if not each.absent), None)
    if wrong is not None:
        from holdfast_protocol.blueprint.documents import path_text

        said = f"{path_text(wrong.path)}: {wrong.message}"
        return Condition("Failed", "EvaluationFailed", said[:MAX_TEXT], hint=wrong.hint[:MAX_TEXT])
    why = outcome.why or "; ".join(each.message for each in outcome.failures[:3])
    before = why.removesuffix(" is not ready")
    for _ in range(20):  # along what it waits for, to what that waits for
        if before not in outcomes or not (more := outcomes[before].why):
            break
        why, before = f"{why}: {more}", more.removesuffix(" is not ready")
    kind: ConditionType = "Failed" if outcome.state == "error" else "Waiting"
    return Condition(kind, "NotThere" if outcome.desired is not None else "Undecided", why[:MAX_TEXT])


def _status(owner: str, found: "Evaluation") -> InstanceStatus:
    states = {each.state for each in found.outcomes}
    state = "ERROR" if "error" in states else "ACTIVE" if states <= {"ready", "skipped"} else "IN_PROGRESS"
    problem = "; ".join(f"{'.'.join(map(str, each.path))}: {each.message}" for each in found.failures)[:MAX_TEXT]
    status, conditions = found.status or {}, found.conditions
    if len(strict.encode([status, conditions])) > MAX_STATUS:
        status, conditions, problem = {}, (), f"the status is larger than {MAX_STATUS} bytes"
    return msgspec.convert(
        {"owner": owner, "state": state, "status": status, "conditions": conditions, "problem": problem}, InstanceStatus
    )
