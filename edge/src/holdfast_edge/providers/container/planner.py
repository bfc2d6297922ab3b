"""From a resource and what it refers to, to its plans; remembered while neither changes."""

from collections.abc import Iterable

import msgspec

from holdfast_edge.providers.container.admission import Rules, admit
from holdfast_edge.providers.container.contents import references, sources
from holdfast_edge.providers.container.shape import refuse
from holdfast_edge.providers.container.specification import PodPlan, plans
from holdfast_edge.providers.container.workload import Workload, workload
from holdfast_edge.providers.port import Scope
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource


class Planned(msgspec.Struct, frozen=True):
    workload: Workload
    pods: tuple[PodPlan, ...]
    images: tuple[str, ...]  # of the containers that stay

    @property
    def key(self) -> ResourceKey:
        return self.workload.key


class Planner:
    def __init__(self, site: SiteName, volumes: str, rules: Rules) -> None:
        """`volumes` is the folder for Pods' folders."""
        self._site = site
        self._volumes = volumes
        self._rules = rules
        self._known: dict[ResourceKey, tuple[dict[ResourceKey, str], Planned]] = {}

    def planned(self, resource: Resource, scope: Scope) -> Planned:
        """Return a resource's plans. Raises PermanentError and UnsupportedError for what could never run here."""
        known = self._known.get(resource.key)
        if known is not None and all(_digest(key, resource, scope) == digest for key, digest in known[0].items()):
            return known[1]
        asked = workload(resource)
        admit(asked, self._rules)
        found, missing = sources(asked.pod, asked.namespace, scope.resources, asked.where)
        if missing:
            refuse(missing, reason="MissingReference")
        pods = plans(asked, found, self._site, self._volumes)
        planned = Planned(asked, pods, tuple(dict.fromkeys(each.image for each in asked.pod.containers)))
        middle = f"{asked.namespace}/" if asked.namespace else ""
        inputs = {ResourceKey(f"{ref.kind}/{middle}{ref.name}") for ref in references(asked.pod)} | {resource.key}
        self._known[resource.key] = ({key: _digest(key, resource, scope) for key in inputs}, planned)
        return planned

    def keep_only(self, keys: Iterable[ResourceKey]) -> None:
        wanted = set(keys)
        self._known = {key: known for key, known in self._known.items() if key in wanted}


def _digest(key: ResourceKey, resource: Resource, scope: Scope) -> str:
    """Return what an input is now, "" for one that is absent."""
    if key == resource.key:
        return resource.digest
    return scope.resources[key].digest if key in scope.resources else ""
