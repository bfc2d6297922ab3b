"""From a resource and what it refers to, to its plans; remembered while neither changes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError, Problem
from holdfast_protocol.kinds.pods.admission import Rules, admit
from holdfast_protocol.kinds.pods.contents import Sources, references, sources
from holdfast_protocol.kinds.pods.pull_secrets import Login, logins, pull_secret_key
from holdfast_protocol.kinds.pods.reading import workload
from holdfast_protocol.kinds.pods.service import Service, selecting, service
from holdfast_protocol.kinds.pods.shape import refuse
from holdfast_protocol.kinds.pods.specification import PodPlan, Surroundings, plans
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource


class Planned(msgspec.Struct, frozen=True):
    workload: Workload
    pods: tuple[PodPlan, ...]
    images: tuple[str, ...]  # of the containers that stay
    logins: Mapping[str, Login] = {}  # by registry

    @property
    def key(self) -> ResourceKey:
        return self.workload.key


class Planner:
    def __init__(self, site: SiteName, state: Path, rules: Rules) -> None:
        """`state` is the agent's own folder."""
        self.site = site
        self._folders = Surroundings(str(state / "volumes"), str(state / "claims"))
        self._rules = rules
        self._known: dict[ResourceKey, tuple[dict[ResourceKey, str], tuple[Service, ...], Planned]] = {}
        self._services: tuple[object, tuple[Service, ...]] = (None, ())

    def planned(self, resource: Resource, scope: Scope) -> Planned:
        """Return a resource's plans. Raises PermanentError and UnsupportedError for what could never run here."""
        known = self._known.get(resource.key)
        services = self.services(scope)
        if (
            known is not None
            and known[1] == services
            and all(_digest(key, resource, scope) == digest for key, digest in known[0].items())
        ):
            return known[2]
        asked = workload(resource)
        found, inputs, around, known_as = self.grounds(asked, scope)
        pods = plans(asked, found, self.site, around)
        images = tuple(dict.fromkeys(each.image for each in asked.pod.containers))
        planned = Planned(asked, pods, images, known_as)
        self._known[resource.key] = ({key: _digest(key, resource, scope) for key in inputs}, services, planned)
        return planned

    def grounds(
        self, asked: Workload, scope: Scope
    ) -> tuple[Sources, set[ResourceKey], Surroundings, dict[str, Login]]:
        """Admit a workload, and return what its plans are made from: contents, the keys of all inputs, the Services
        that select it, and logins for its images. Raises as `planned`."""
        admit(asked, self._rules)
        found, missing = sources(asked.pod, asked.namespace, scope.resources, asked.where)
        known_as, wrong = logins(asked.pod, asked.namespace, scope.resources, asked.where)
        middle = f"{asked.namespace}/" if asked.namespace else ""
        inputs = {ResourceKey(f"{ref.kind}/{middle}{ref.name}") for ref in references(asked.pod)} | {asked.key}
        inputs |= {pull_secret_key(asked.namespace, each.name) for each in asked.pod.image_pull_secrets}
        for number, volume in enumerate(asked.pod.volumes):
            if volume.persistent_volume_claim is None:
                continue
            key = ResourceKey(f"PersistentVolumeClaim/{middle}{volume.persistent_volume_claim.claim_name}")
            inputs.add(key)
            if key not in scope.resources:
                path = f"{asked.where}.volumes[{number}].persistentVolumeClaim.claimName"
                missing.append(Problem(f"{key} is not in the site's target", path=path))
        if missing or wrong:
            refuse([*missing, *wrong], reason="MissingReference")
        every = self.services(scope)
        selected = selecting(every, asked.namespace, asked.labels)
        around = msgspec.structs.replace(self._folders, services=selected, named=bool(every))
        return found, inputs, around, known_as

    def services(self, scope: Scope) -> tuple[Service, ...]:
        """Return the well-formed Services of the target."""
        if self._services[0] is not scope.resources:
            self._services = (scope.resources, tuple(_services(scope)))
        return self._services[1]

    def keep_only(self, keys: Iterable[ResourceKey]) -> None:
        wanted = set(keys)
        self._known = {key: known for key, known in self._known.items() if key in wanted}


def _services(scope: Scope) -> Iterable[Service]:
    for key, resource in scope.resources.items():
        if key.startswith("Service/"):
            try:
                yield service(key, resource.body)
            except PermanentError:  # it says so itself, and leads nowhere
                continue


def _digest(key: ResourceKey, resource: Resource, scope: Scope) -> str:
    """Return what an input is now, "" for one that is absent."""
    if key == resource.key:
        return resource.digest
    return scope.resources[key].digest if key in scope.resources else ""
