"""A blueprint's resources for one instance, given what is there: the graph as kro goes through it.

Pure: what was observed comes from a function the caller gives. With everything observed as desired this is rendering;
with what a site has seen it says which resources to make now, which are ready, and the instance's status.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.cel import Expression, ExpressionError
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.filling import Failure, Known, Values, field_values, filled
from holdfast_protocol.blueprint.node import EACH, Node
from holdfast_protocol.blueprint.template import Field

INDEX_LABEL: Final = "kro.run/collection-index"
MAX_ITEMS: Final = 1_000  # of one collection
MAX_TOTAL: Final = 16 * 1024 * 1024  # bytes as JSON of all bodies of all collections

Body = dict[str, Any]
Observe = Callable[[Node, Sequence[Body]], Sequence[Body]]  # a node and what it should be; returns what is there
Unsettled = Callable[[Node, Sequence[Body]], str]  # the same; returns why it cannot be ready yet, "" when it can
State = Literal["ready", "not_ready", "skipped", "pending", "error"]


class Outcome(msgspec.Struct, frozen=True):
    """What became of one node. `desired` is None when it could not be said; `undecided`: not even whether it is in.

    `unmet` is the index of the one that fails its readyWhen, None when none does.
    """

    id: str
    state: State
    desired: tuple[Body, ...] | None = None
    failures: tuple[Failure, ...] = ()
    why: str = ""
    undecided: bool = False
    unmet: int | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """Outcomes in the order of making. `status` is what the instance may say; None when it failed."""

    outcomes: tuple[Outcome, ...]
    status: dict[str, Any] | None
    conditions: tuple[dict[str, str], ...]
    failures: tuple[Failure, ...] = ()  # of status and conditions, below spec.schema.status


def evaluate(
    definition: Definition, schema: dict[str, Any], observe: Observe, unsettled: Unsettled | None = None
) -> Evaluation:
    """Return everything about an instance; `schema` is what the name means in expressions.

    `unsettled` adds to readyWhen what whoever made a resource says of it (None: nothing).
    """
    evaluating = _Evaluating(definition, schema, observe, unsettled)
    outcomes = evaluating.outcomes()
    values = {"schema": schema, **evaluating.observed}
    bindings = definition.environment.bind(values)
    status, failures = definition.status.projected(bindings)
    conditions, more = definition.status.conditions_now(values)
    return Evaluation(tuple(outcomes), status, conditions, (*failures, *more))


def desired(definition: Definition, schema: dict[str, Any], late: Collection[str] = ()) -> list[Outcome]:
    """Return the outcomes where everything is there as it should be. Of those in `late`, which need a look at a site, what
    the schema alone decides: left out, or pending, with what of them can never have a value."""
    return _Evaluating(definition, schema, None, late=late).outcomes()


class _Evaluating:
    """One pass. `observed` has by id what expressions see of the nodes so far."""

    def __init__(
        self,
        definition: Definition,
        schema: dict[str, Any],
        observe: Observe | None,
        unsettled: Unsettled | None = None,
        late: Collection[str] = (),
    ) -> None:
        self.observed: dict[str, Any] = {}
        self._unsettled = unsettled
        self._late = late
        self._definition = definition
        self._schema = schema
        self._observe = observe
        self._namespace = schema.get("metadata", {}).get("namespace")
        self._shared = definition.environment.bind({"schema": schema})
        self._known = Known({})
        self._outcomes: dict[str, Outcome] = {}
        self._total = 0

    def outcomes(self) -> list[Outcome]:
        for node in self._definition.nodes:
            self._outcomes[node.id] = self._outcome(node)
        return list(self._outcomes.values())

    def _outcome(self, node: Node) -> Outcome:
        if node.id in self._late:
            return self._later(node)
        return self._excluded(node) or self._waiting(node) or self._made(node)

    def _later(self, node: Node) -> Outcome:
        """Return a node left to its site: what the schema alone says of it, failures too."""
        if skipped := self._skipped(node):
            return skipped
        alone = [index for index, each in enumerate(node.include) if each.uses.names <= {"schema"}]
        if excluded := self._unincluded(node, alone, self._shared):
            return excluded
        failures: list[Failure] = []
        known = [field for field in node.template.fields if all(x.uses.names <= {"schema"} for x in field.expressions)]
        field_values(known, self._shared, self._known, failures, node.template.path[-1:])
        return Outcome(node.id, "error" if failures else "pending", failures=tuple(failures), undecided=True)

    def _excluded(self, node: Node) -> Outcome | None:
        """Return an outcome when a node is left out, or nobody can say whether it is."""
        if skipped := self._skipped(node):
            return skipped
        for each in (self._outcomes[name] for name in sorted(node.needs)):
            if each.undecided:
                return Outcome(node.id, each.state, why=f"whether {each.id} is left out is not known", undecided=True)
        others = {name for each in node.include for name in each.uses.names if name != "schema"}
        for name in sorted(others):
            before = self._outcomes[name]
            if before.state != "ready":
                broken = before.state == "error" and before.desired is not None
                return Outcome(node.id, "error" if broken else "pending", why=f"{name} is not ready", undecided=True)
        return self._unincluded(node, range(len(node.include)), self._bound(others))

    def _skipped(self, node: Node) -> Outcome | None:
        for name in sorted(node.needs):
            if self._outcomes[name].state == "skipped":
                return Outcome(node.id, "skipped", why=f"{name} is left out")
        return None

    def _unincluded(self, node: Node, indices: Iterable[int], bindings: Any) -> Outcome | None:
        """Return an outcome when one of these entries of includeWhen is not true."""
        for index in indices:
            expression = node.include[index]
            try:
                holds = self._known.evaluate(expression, bindings)
            except ExpressionError as error:
                failure = _failure(("includeWhen", index), expression, error)
                waits = error.absent and expression.uses.names - {"schema"}
                return Outcome(node.id, "pending" if waits else "error", failures=(failure,), undecided=True)
            if holds is not True:
                return Outcome(node.id, "skipped", why=f"${{{expression.source[:200]}}} does not hold")
        return None

    def _waiting(self, node: Node) -> Outcome | None:
        for name in sorted(node.needs):
            before = self._outcomes[name]
            if before.state != "ready":
                broken = before.state == "error" and before.desired is not None
                return Outcome(node.id, "error" if broken else "pending", why=f"{name} is not ready")
        return None

    def _made(self, node: Node) -> Outcome:
        failures: list[Failure] = []
        bodies = self._bodies(node, failures)
        if failures:
            waits = all(each.absent for each in failures)
            return Outcome(node.id, "pending" if waits else "error", failures=tuple(failures))
        if self._observe is None:
            self.observed[node.id] = bodies if node.is_list else bodies[0]
            return Outcome(node.id, "ready", tuple(bodies))
        there = list(self._observe(node, bodies))
        if node.kind == "Collection" and bodies:
            by_identity = {_identity(each): each for each in there}
            there = [by_identity[key] for key in map(_identity, bodies) if key in by_identity]
        if node.is_list:
            self.observed[node.id] = there
        elif there:
            self.observed[node.id] = there[0]
        return self._judged(node, bodies, there)

    def _judged(self, node: Node, bodies: list[Body], there: list[Body]) -> Outcome:
        """Return whether a node that was made is ready."""
        made = tuple(bodies)
        if self._unsettled is not None and (why := self._unsettled(node, bodies)):
            return Outcome(node.id, "not_ready", made, why=why)
        if not node.is_list and not there:
            return Outcome(node.id, "not_ready", made, why="it is not there")
        if node.kind == "Collection" and len(there) < len(bodies):
            return Outcome(node.id, "not_ready", made, why=f"{len(there)} of {len(bodies)} are there")
        looks: list[dict[str, Any]] = [{node.id: there}] if there else []
        if node.kind == "Collection":
            looks = [{EACH: each} for each in there] if bodies else []
        elif not node.is_list:
            looks = [{node.id: there[0]}]
        for number, values in enumerate(looks if node.ready else ()):
            for index, expression in enumerate(node.ready):
                try:
                    holds = expression.evaluate(expression.bind(values))
                except ExpressionError as error:
                    failure = _failure(("readyWhen", index), expression, error)
                    state: State = "not_ready" if error.absent else "error"
                    said = f"${{{expression.source[:200]}}}: {error.message}"
                    return Outcome(node.id, state, made, (failure,), said, unmet=number)
                if holds is not True:
                    said = f"${{{expression.source[:200]}}} does not hold"
                    return Outcome(node.id, "not_ready", made, why=said, unmet=number)
        return Outcome(node.id, "ready", made)

    def _bodies(self, node: Node, failures: list[Failure]) -> list[Body]:
        iterators = {each.name for each in node.dimensions}
        fields, below = node.template.fields, node.template.path[-1:]
        once: Sequence[Field] = fields
        if iterators:
            once = [field for field in fields if not any(each.uses.names & iterators for each in field.expressions)]
        values = field_values(once, self._bound(node.template.needs - iterators), self._known, failures, below)
        if node.kind != "Collection":
            return [self._body(node, values)] if not failures else []
        bodies: list[Body] = []
        varying = [field for field in fields if field not in once]
        for item in self._items(node, failures):
            bindings = node.environment.bind({"schema": self._schema, **self._seen(node.template.needs), **item})
            changing = field_values(varying, bindings, self._known, failures, below)
            if failures:
                return []
            body = self._body(node, changing, values)
            labels = body["metadata"].get("labels")
            body["metadata"]["labels"] = {**(labels if isinstance(labels, dict) else {}), INDEX_LABEL: str(len(bodies))}
            self._total += len(msgspec.json.encode(body))
            if self._total > MAX_TOTAL:
                failures.append(
                    Failure(("forEach",), f"the items of all collections are larger than {MAX_TOTAL} bytes")
                )
                return []
            bodies.append(body)
        self._check_identities(bodies, failures)
        return bodies

    def _body(self, node: Node, own: Values, shared: Values | None = None) -> Body:
        body = filled(node.template, own, shared)
        metadata = body["metadata"]
        inherits = node.kind != "ExternalCollection" and node.template.kind not in names.CLUSTER_KINDS
        if self._namespace and inherits and not metadata.get("namespace"):
            metadata["namespace"] = self._namespace
        return body

    def _items(self, node: Node, failures: list[Failure]) -> Iterator[dict[str, Any]]:
        """Yield the loop's variables for each item, the last loop fastest."""
        if failures:
            return
        lists: list[list[Any]] = []
        for index, each in enumerate(node.dimensions):
            path = ("forEach", index, each.name)
            try:
                found = each.items.evaluate(self._bound(each.items.uses.names - {"schema"}))
            except ExpressionError as error:
                failures.append(_failure(path, each.items, error))
                return
            lists.append(found)
            if not found:
                return  # an empty loop makes an empty collection, whatever the others are
        count = prod(map(len, lists))
        if count > MAX_ITEMS:
            failures.append(Failure(("forEach",), f"a collection of {count}, the limit is {MAX_ITEMS}"))
            return
        for values in product(*lists):
            yield {each.name: value for each, value in zip(node.dimensions, values, strict=True)}

    def _check_identities(self, bodies: list[Body], failures: list[Failure]) -> None:
        seen: set[tuple[Any, ...]] = set()
        for body in bodies:
            identity = _identity(body)
            if identity in seen:
                said = f"two items of the collection are both called {identity[3]!r}"[:300]
                failures.append(Failure(("template", "metadata", "name"), said))
                return
            seen.add(identity)

    def _bound(self, others: frozenset[str] | set[str]) -> Any:
        if not others:
            return self._shared
        return self._definition.environment.bind({"schema": self._schema, **self._seen(others)})

    def _seen(self, others: frozenset[str] | set[str]) -> dict[str, Any]:
        return {name: self.observed[name] for name in others if name in self.observed}


def _failure(path: tuple[str | int, ...], expression: Expression, error: ExpressionError) -> Failure:
    return Failure(path, error.message, error.hint, error.absent, expression.uses.names)


def _identity(body: Body) -> tuple[Any, ...]:
    metadata = body.get("metadata") or {}
    return tuple(
        str(each)
        for each in (body.get("apiVersion"), body.get("kind"), metadata.get("namespace"), metadata.get("name"))
    )
