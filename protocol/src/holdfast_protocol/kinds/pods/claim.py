"""PersistentVolumeClaim: a folder of the node that outlives the Pods that use it, and the claim itself."""

from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import Resources, Strict
from holdfast_protocol.kinds.pods.quantities import whole_bytes
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.kinds.pods.workload import document
from holdfast_protocol.wire.names import ResourceKey

RECLAIM: Final = "holdfast.io/reclaim-policy"  # annotation of a claim: Retain (unless said), Delete
CLASSES: Final = ("", "local-path")  # there is one class: a folder of the node


class ClaimSpec(Strict, frozen=True):
    resources: Resources
    access_modes: tuple[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...] = ()
    storage_class_name: str = ""
    volume_mode: Literal["Filesystem"] = "Filesystem"


class Claim(msgspec.Struct, frozen=True):
    key: ResourceKey
    name: str
    namespace: str
    size: int  # bytes asked for: reported, and not a limit
    modes: tuple[str, ...]
    deleted: bool  # its data goes with it


def claim(key: ResourceKey, body: dict[str, Any]) -> Claim:
    """Return what a claim asks for. Raises PermanentError or UnsupportedError with every path at fault."""
    read = document(body, "v1")
    spec = shaped(read.spec, ClaimSpec, "spec")
    problems = claim_problems(spec, "spec")
    reclaim = read.metadata.annotations.get(RECLAIM, "Retain")
    if reclaim not in ("Retain", "Delete"):
        problems.append(Problem(f"{reclaim[:40]!r} is not Retain or Delete", path=f"metadata.annotations.{RECLAIM}"))
    if problems:
        refuse(problems, reason="BadClaim")
    return Claim(
        key=key,
        name=read.metadata.name,
        namespace=read.metadata.namespace,
        size=whole_bytes(spec.resources.requests["storage"]),
        modes=spec.access_modes or ("ReadWriteOnce",),
        deleted=reclaim == "Delete",
    )


def claim_problems(spec: ClaimSpec, path: str) -> list[Problem]:
    problems = []
    try:
        size = whole_bytes(spec.resources.requests["storage"])
    except KeyError:
        problems.append(Problem("is needed", path=f"{path}.resources.requests.storage", hint="such as 1Gi"))
    except ValueError as error:
        problems.append(Problem(str(error), path=f"{path}.resources.requests.storage"))
    else:
        if not 0 < size < 2**63:
            problems.append(Problem("must be more than nothing", path=f"{path}.resources.requests.storage"))
    if spec.resources.requests.keys() - {"storage"} or spec.resources.limits:
        problems.append(Problem("only requests.storage can be asked for", path=f"{path}.resources"))
    if spec.storage_class_name not in CLASSES:
        problems.append(
            Problem(
                f"{spec.storage_class_name[:80]!r} is no class here",
                path=f"{path}.storageClassName",
                hint="leave it out: a volume is a folder of the node (local-path means the same)",
            )
        )
    return problems
