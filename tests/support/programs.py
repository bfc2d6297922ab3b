"""Programs as the hub makes them from documents, and a small site in memory that evaluates them without a loop."""

from typing import Any

from holdfast_edge.core.diff import Owned
from holdfast_edge.core.late import Decision, decide
from holdfast_edge.core.observed import Observed
from holdfast_edge.core.programs import Compiled, Judged, compiled, name_of
from holdfast_edge.core.sights import Look, Reference
from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.program import program_of
from holdfast_hub.core.target import Contribution, compose
from holdfast_hub.operations.instance_rows import rendered_resources
from holdfast_protocol.blueprint.definition import check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.wire.messages import Condition
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, Resource


def content_of(text: str, revision: int = 1) -> Content:
    """Return the content of a site that gets every instance in `text`, which begins with their blueprint."""
    blueprint, *instances = read_documents(text)
    definition = check_blueprint(blueprint).value
    contributions = []
    for document in instances:
        instance = check_instance(definition, document).value
        resources = rendered_resources(definition, instance, revision)
        contributions.append(Contribution(instance.owner, resources, program_of(definition, instance, revision)))
    composed = compose(contributions)
    assert not composed.problems, composed.problems
    return composed.content


class Bench:
    """Looks at what it was told is there; `settle` goes on until nothing else is wanted, as the loop does."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.statuses: dict[str, dict[str, Any]] = {}  # by key
        self.unready: set[str] = set()
        self.unseen: set[str] = set()  # nobody can look at these
        self.found: dict[Reference, tuple[dict[str, Any], ...] | None] = {}
        self.owned: dict[ResourceKey, Owned] = {}
        self.removed: list[str] = []
        self.verdicts: dict[str, Judged | Condition] = {}

    def decision(self) -> Decision:
        own: dict[ResourceKey, Resource] = {each.key: each for each in self.content.resources}
        return decide(own, self.content.programs, self.verdicts, self.owned)

    def settle(self) -> Decision:
        for _ in range(20):
            wanted = self.decision().wanted
            observed = {key: self._observed(key) for key in wanted if key not in self.unseen}
            look = Look(wanted, observed, self.found)
            definitions = compiled(self.content.programs, {})
            for program in self.content.programs:
                definition = definitions[name_of(program)]
                for instance in program.instances:
                    usable = isinstance(definition, Compiled)
                    self.verdicts[instance.owner] = definition.judge(instance, look) if usable else definition  # type: ignore
            after = self.decision().wanted
            made = {
                key: Owned(one.body, one.digest, one.depends_on, one.instance, one.id) for key, one in after.items()
            }
            self.removed += sorted(self.owned.keys() - made.keys())
            if made == self.owned and after == wanted:
                return self.decision()
            self.owned = made
        raise AssertionError("it never settles")

    def _observed(self, key: ResourceKey) -> Observed:
        ready = key not in self.unready
        return Observed(
            key,
            exists=key in self.owned,
            readiness="ready" if ready else "progressing",
            reason="" if ready else "Starting",
            status=self.statuses.get(key, {}),
        )

    def judged(self, owner: str) -> Judged:
        verdict = self.verdicts[owner]
        assert isinstance(verdict, Judged)
        return verdict
