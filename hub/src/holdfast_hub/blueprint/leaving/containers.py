"""The containers of an instance: what a site's engine would be asked for, with names and folders that are nobody's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint.render import Rendered
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.pods.contents import Sources, sources
from holdfast_protocol.kinds.pods.podspec import Container, PodSpec
from holdfast_protocol.kinds.pods.reading import KINDS, workload
from holdfast_protocol.kinds.pods.service import Service, selecting, service
from holdfast_protocol.kinds.pods.specification import ContainerPlan, PodPlan, Surroundings, plans
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.wire.names import ResourceKey, SiteName
from holdfast_protocol.wire.target import Resource, resource

OURS: Final = "holdfast.io/"  # labels that begin so are an agent's own
_VARIABLE: Final = re.compile(r"\$\(([^)]*)\)")


class Missing(msgspec.Struct, frozen=True):
    why: str


class Piece(msgspec.Struct, frozen=True):
    """One container. `config` is the body of an engine's create call; sources of its mounts are for the writers."""

    name: str  # at the engine
    service: str  # in a file for docker compose
    image: str
    pull: str
    config: dict[str, Any]
    source: Container
    pod: PodSpec
    init: bool
    joins: bool
    secrets: frozenset[str]  # variables whose value is a Secret's
    tainted: bool  # some text of it holds a secret

    @property
    def host(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["HostConfig"]
        return found

    @property
    def variables(self) -> dict[str, str]:
        pairs = (each.partition("=") for each in self.config.get("Env", ()))
        return {name: value for name, _, value in pairs}

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.config.get("Labels", {})
        return {key: value for key, value in labels.items() if not key.startswith(OURS)}


class PodPiece(msgspec.Struct, frozen=True):
    name: str
    workload: Workload
    plan: PodPlan
    pieces: tuple[Piece, ...]  # initContainers first
    aliases: tuple[str, ...]
    networked: bool

    @property
    def first(self) -> Piece:
        """Return the container whose network is the Pod's."""
        return next(each for each in self.pieces if not each.init)


def pods(instance: str, each: Rendered, scope: Mapping[ResourceKey, Resource]) -> list[PodPiece] | Missing:
    """Return the Pods of a resource that makes some; Missing when what it refers to is not in `scope`.

    Raises PermanentError for what could not run anywhere.
    """
    asked = workload(resource(each.body))
    found, wrong = sources(asked.pod, asked.namespace, scope, asked.where)
    if wrong:
        return Missing("; ".join(problem.message for problem in wrong))
    middle = f"{asked.namespace}/" if asked.namespace else ""
    for volume in asked.pod.volumes:
        wanted = volume.persistent_volume_claim
        if wanted is not None and ResourceKey(f"PersistentVolumeClaim/{middle}{wanted.claim_name}") not in scope:
            return Missing(f"PersistentVolumeClaim {wanted.claim_name} is not in this folder")
    every = tuple(_services(scope))
    around = Surroundings("volumes", "claims", selecting(every, asked.namespace, asked.labels), named=bool(every))
    made = []
    for plan in plans(asked, found, SiteName("ejected"), around):
        pod = f"{asked.namespace}-{asked.pod_name(plan.replica)}" if asked.namespace else asked.pod_name(plan.replica)
        name = pod if pod.startswith(f"{instance}-") or pod == instance else f"{instance}-{pod}"
        ones = [(one, True) for one in plan.init] + [(one, False) for one in plan.containers]
        pieces = tuple(
            _piece(one, asked.pod_of(plan.replica), found, f"{name}-{one.container}", pod, init) for one, init in ones
        )
        made.append(PodPiece(pod, asked, plan, pieces, plan.aliases, plan.networked))
    return made


def makes_pods(each: Rendered) -> bool:
    return each.body["kind"] in KINDS


def _services(scope: Mapping[ResourceKey, Resource]) -> Iterator[Service]:
    for key, found in scope.items():
        if key.startswith("Service/"):
            try:
                yield service(key, found.body)
            except PermanentError:  # refused where it is checked; it leads nowhere
                continue


def _piece(plan: ContainerPlan, pod: PodSpec, found: Sources, name: str, pod_name: str, init: bool) -> Piece:
    secrets = set()
    for source in plan.source.env_from:
        if source.secret_ref:
            secrets |= {source.prefix + key for key in found.get("Secret", source.secret_ref.name)}
    for variable in plan.source.env:
        secret = variable.value_from is not None and variable.value_from.secret_key_ref is not None
        if secret or set(_VARIABLE.findall(variable.value)) & secrets:
            secrets.add(variable.name)
        else:
            secrets.discard(variable.name)  # said again, in the open
    words = " ".join((*plan.source.command, *plan.source.args))
    tainted = bool(set(_VARIABLE.findall(words)) & secrets)
    return Piece(
        name=name,
        service=f"{pod_name}-{plan.container}",
        image=plan.image,
        pull=plan.pull,
        config=plan.config,
        source=plan.source,
        pod=pod,
        init=init,
        joins=plan.joins,
        secrets=frozenset(secrets),
        tainted=tainted,
    )
