"""What every kind that runs Pods comes down to: a number of Pods with names, and how they follow one another."""

import re
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import ClaimVolume, Labels, PodSpec, Volume, WorkloadDocument
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.wire.names import ResourceKey, is_name

MAX_REPLICAS: Final = 100
_PERCENT: Final = re.compile(r"(?P<number>[0-9]{1,3})%")
Kind = Literal["Deployment", "DaemonSet", "StatefulSet", "Pod", "Job", "CronJob"]


class Workload(msgspec.Struct, frozen=True):
    key: ResourceKey
    kind: Kind
    name: str
    namespace: str
    labels: Labels  # of the Pods
    annotations: Labels
    pod: PodSpec
    where: str  # path of the Pod's spec in the document
    replicas: int = 1
    at_once: int = 1  # replicas that may be down together for a replacement
    min_ready_s: int = 0
    in_order: bool = False  # made upwards, each ready before the next, replaced and removed downwards
    claims: tuple[tuple[str, int], ...] = ()  # a volume each Pod has of its own, with the bytes asked for
    subdomain: str = ""  # the Service whose name stands behind those of the Pods

    def pod_name(self, replica: int) -> str:
        return self.name if self.kind in ("Pod", "DaemonSet") else f"{self.name}-{replica}"

    def pod_of(self, replica: int) -> PodSpec:
        """Return the Pod's spec with the volumes that are its own."""
        if not self.claims:
            return self.pod
        own = [
            Volume(name=name, persistent_volume_claim=ClaimVolume(claim_name=self.claim_name(name, replica)))
            for name, _ in self.claims
        ]
        names = {volume.name for volume in own}
        return msgspec.structs.replace(self.pod, volumes=[*(v for v in self.pod.volumes if v.name not in names), *own])

    def claim_name(self, volume: str, replica: int) -> str:
        return f"{volume}-{self.pod_name(replica)}"


def document(body: dict[str, Any], version: str) -> WorkloadDocument:
    """Return an object's outer shape. Raises PermanentError (BadDocument) for another apiVersion or a name that is none."""
    read = shaped(body, WorkloadDocument, "")
    problems: list[Problem] = []
    if read.api_version != version:
        problems.append(Problem(f"{read.api_version[:80]!r} is not {version}", path="apiVersion"))
    name = read.metadata.name
    if not all(is_name(part) for part in name.split(".")) or len(name) > 253:
        problems.append(Problem("not a DNS name of lower-case letters, digits, '-' and '.'", path="metadata.name"))
    if problems:
        refuse(problems, reason="BadDocument")
    return read


def unmatched(selector: Labels, labels: Labels) -> list[Problem]:
    """Return the labels a selector asks for and its own template does not have."""
    return [
        Problem("the template's labels do not have it", path=f"spec.selector.matchLabels.{label[:80]}")
        for label, value in selector.items()
        if labels.get(label) != value
    ]


def replicas_of(value: int | str, replicas: int) -> int | None:
    """Return a number of replicas, or a percentage of them rounded down; None for what is neither."""
    if isinstance(value, int):
        return value if 0 <= value <= MAX_REPLICAS else None
    percent = _PERCENT.fullmatch(value)
    if percent is None or int(percent["number"]) > 100:
        return None
    return replicas * int(percent["number"]) // 100
