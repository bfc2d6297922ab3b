"""What has to be done so that the containers found become those planned: pure, level-triggered, safe to begin again.

A Pod is the unit: a container that is another than planned costs its whole Pod, one that only does not run is started.
[inv: same-inputs-same-plan, only-owned-things-are-removed]
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from holdfast_edge.providers.container.found import Found
from holdfast_protocol.kinds.pods.podspec import RestartPolicy
from holdfast_protocol.kinds.pods.specification import ContainerPlan, PodPlan

Action = Literal["remove", "replace", "build", "restart", "unpause"]
SETTLED_S: Final = 2.0  # a replaced replica must have run this long before the next is replaced


class Step(msgspec.Struct, frozen=True):
    """`build` makes and starts what a Pod lacks, the first container first; `replace` clears everything of it before.
    The others concern `ids`."""

    action: Action
    replica: int
    why: str
    ids: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """What probes and the clock say of one running container."""

    ready: bool = True
    uptime_s: float = SETTLED_S
    restart_now: bool = False  # its liveness or startup probe failed, and its back-off is over
    why: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Steps possible now, in order, and what has to wait for something else."""

    steps: tuple[Step, ...] = ()
    waits: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[str, ...]:
        return (*(step.why for step in self.steps), *self.waits)


class Situation(msgspec.Struct, frozen=True):
    """Everything a plan is made from. `images` are ids by reference; `damaged` are replicas whose files were altered."""

    pods: Sequence[PodPlan]
    found: Sequence[Found]
    policy: RestartPolicy
    images: Mapping[str, str] = {}
    health: Mapping[str, Health] = {}
    damaged: frozenset[int] = frozenset()
    at_once: int = 1
    min_ready_s: float = 0.0
    in_order: bool = False  # made upwards, each ready before the next; replaced and removed downwards, one at a time


def plan(situation: Situation) -> Plan:
    """Return what to do now. Surplus goes first, so that its ports are free for what is made."""
    steps: list[Step] = []
    waits: list[str] = []
    of_replica: dict[str, list[Found]] = {}
    for each in situation.found:
        of_replica.setdefault(each.replica, []).append(each)
    wanted = {str(pod.replica): pod for pod in situation.pods}
    surplus_of = sorted((each for each in of_replica.items() if each[0] not in wanted), key=_highest_first)
    for number, (replica, strays) in enumerate(surplus_of):
        if situation.in_order and number:
            waits.append(f"replica {replica}: more than wanted, and waits for those above it to be gone")
        else:
            why = f"{', '.join(sorted(each.name for each in strays))}: more than wanted"
            steps.append(Step("remove", -1, why, tuple(sorted(each.id for each in strays))))
    stale: list[tuple[PodPlan, Mapping[str, Found], str, bool]] = []
    unavailable = 0
    lower = ""  # the first replica that is not ready
    for replica, pod in wanted.items():
        containers = of_replica.get(replica, [])
        surplus, kept = _surplus(pod, containers)
        steps.extend(surplus)
        available = _available(pod, kept, situation)
        unavailable += not available
        before, lower = lower, lower or ("" if _ready(pod, kept, situation) else replica)
        older = _older(pod, kept, situation)
        broken = _broken(pod, kept, situation)
        if broken:
            steps.append(_replaced(pod, kept, broken))
        elif older:
            stale.append((pod, kept, older, available))
        elif situation.in_order and before and not kept:
            waits.append(f"{label(pod)}: waits for replica {before} to be ready")
        else:
            more, waiting = _in_place(pod, kept, situation)
            steps.extend(more)
            waits.extend(waiting)
    free = max(0, situation.at_once - unavailable)
    # Who serves nobody goes first.
    for pod, standing, older, available in sorted(
        stale, key=lambda entry: (entry[3], -entry[0].replica if situation.in_order else 0)
    ):
        if available and free == 0:
            waits.append(f"{older}, and waits for other replicas to be ready")
            continue
        free -= available
        steps.append(_replaced(pod, standing, older))
    return Plan(tuple(steps), tuple(waits))


def _highest_first(entry: tuple[str, object]) -> tuple[int, str]:
    return (-int(entry[0]) if entry[0].isdigit() else 1, entry[0])


def label(pod: PodPlan, container: str = "") -> str:
    """Return how a difference names its place."""
    return f"replica {pod.replica}" + (f", container {container}" if container else "")


def _surplus(pod: PodPlan, containers: Sequence[Found]) -> tuple[list[Step], dict[str, Found]]:
    """Return removals of what no plan names or names once, and the rest by container."""
    names = {each.container: each.name for each in (*pod.init, *pod.containers)}
    kept: dict[str, Found] = {}
    steps = []
    # The one with the right name last, so that it is the one kept of two that claim the same place.
    for each in sorted(containers, key=lambda each: (each.name == names.get(each.container), each.id)):
        other = kept.get(each.container)
        if each.container not in names or other is not None:
            loser = other or each
            why = f"{label(pod, loser.container)}: more than wanted"
            steps.append(Step("remove", pod.replica, why, (loser.id,)))
        if each.container in names:
            kept[each.container] = each
    return steps, kept


def _older(pod: PodPlan, kept: Mapping[str, Found], situation: Situation) -> str:
    """Return why a Pod is of another revision than planned, "" when it is not."""
    for each in kept.values():
        if each.digest != pod.digest:
            return f"{label(pod)}: made from an older specification"
    for planned in pod.containers:
        each_found = kept.get(planned.container)
        image = situation.images.get(planned.image, "")
        if each_found and image and each_found.image != image:
            return f"{label(pod, planned.container)}: image {planned.image} is {image[:12]} now, runs {each_found.image[:12]}"
    return ""


def _broken(pod: PodPlan, kept: Mapping[str, Found], situation: Situation) -> str:
    """Return why a Pod cannot be mended in place, "" when it can: no replica is spared for it."""
    first = pod.containers[0]
    mains = [planned for planned in pod.containers if planned.container in kept]
    if mains and first.container not in kept and any(planned.joins for planned in mains):
        return f"{label(pod, first.container)}: gone, and the Pod's network with it"
    for planned in (*pod.init, *pod.containers):
        each = kept.get(planned.container)
        if each is None:
            continue
        if each.state == "dead":
            return f"{label(pod, each.container)}: dead"
        if each.digest == pod.digest:
            altered = _altered(planned, each)
            if altered:
                return f"{label(pod, each.container)}: {altered} altered"
    if pod.replica in situation.damaged and kept and all(each.digest == pod.digest for each in kept.values()):
        return f"{label(pod)}: files of its volumes altered"
    return ""


def _altered(planned: ContainerPlan, each: Found) -> str:
    """Return which of the things an engine lets people change on a living container somebody changed."""
    if each.name != planned.name:
        return "name"
    if each.restart_policy != planned.host["RestartPolicy"]["Name"]:
        return "restart policy"
    if each.memory != planned.host.get("Memory", 0):
        return "memory limit"
    if each.nano_cpus != planned.host.get("NanoCpus", 0):
        return "CPU limit"
    return ""


def _replaced(pod: PodPlan, kept: Mapping[str, Found], why: str) -> Step:
    return Step("replace", pod.replica, why, tuple(sorted(each.id for each in kept.values())))


def _available(pod: PodPlan, kept: Mapping[str, Found], situation: Situation) -> bool:
    """Return whether a replica serves: everything runs and is ready, and a new revision has for long enough."""
    return _ready(pod, kept, situation, max(SETTLED_S, situation.min_ready_s))


def _ready(pod: PodPlan, kept: Mapping[str, Found], situation: Situation, settled_s: float | None = None) -> bool:
    least = situation.min_ready_s if settled_s is None else settled_s
    for planned in pod.containers:
        each = kept.get(planned.container)
        if each is None or each.state != "running":
            return False
        health = situation.health.get(each.id, Health())
        if not health.ready or (each.digest == pod.digest and health.uptime_s < least):
            return False
    return True


def should_run(policy: RestartPolicy, each: Found) -> bool:
    """Return whether a stopped container has to run again; with OnFailure and Never some ends are final."""
    if each.state == "created":
        return True
    if each.state != "exited":
        return False
    return policy == "Always" or (policy == "OnFailure" and each.exit_code != 0)


def _in_place(pod: PodPlan, kept: Mapping[str, Found], situation: Situation) -> tuple[list[Step], list[str]]:
    """Return the steps for a Pod of the right revision, and what it waits for."""
    if not any(planned.container in kept for planned in pod.containers) and pod.init:
        return _initial(pod, kept, situation)
    steps = []
    lacking = []
    for planned in pod.containers:
        each = kept.get(planned.container)
        where = label(pod, planned.container)
        if each is None:
            lacking.append(f"{where}: absent")
        elif should_run(situation.policy, each):
            ended = f"stopped, exit code {each.exit_code}" if each.state == "exited" else "made and not started"
            lacking.append(f"{where}: {ended}" + (f" ({each.error})" if each.error else ""))
        elif each.state == "paused":
            steps.append(Step("unpause", pod.replica, f"{where}: paused", (each.id,)))
        elif each.state == "running":
            why = _restart_reason(pod, planned, each, kept, situation)
            if why:
                steps.append(Step("restart", pod.replica, f"{where}: {why}", (each.id,)))
    if lacking:
        steps.append(Step("build", pod.replica, "; ".join(lacking)))
    return steps, []


def _restart_reason(
    pod: PodPlan, planned: ContainerPlan, each: Found, kept: Mapping[str, Found], situation: Situation
) -> str:
    health = situation.health.get(each.id, Health())
    if health.restart_now:
        return health.why
    first = kept.get(pod.containers[0].container)
    if planned.joins and first is not None and first.state == "running" and each.started_at < first.started_at:
        return "holds the network of an earlier start of its Pod's first container"
    return ""


def _initial(pod: PodPlan, kept: Mapping[str, Found], situation: Situation) -> tuple[list[Step], list[str]]:
    """Return what comes next of the initContainers: one after the other, each to its end, and then the others."""
    for planned in pod.init:
        each = kept.get(planned.container)
        where = label(pod, planned.container)
        if each is None or each.state == "created":
            return [Step("build", pod.replica, f"{where}: has not run yet")], []
        if each.state == "paused":
            return [Step("unpause", pod.replica, f"{where}: paused", (each.id,))], []
        if each.state in ("running", "restarting"):
            return [], [f"{label(pod)}: waits for its initContainer {planned.container}"]
        if each.exit_code != 0 and situation.policy == "Never":
            return [], []  # failed for good: no difference that anything here could mend
        if each.exit_code != 0:
            return [Step("build", pod.replica, f"{where}: stopped, exit code {each.exit_code}")], []
    return [Step("build", pod.replica, f"{label(pod)}: absent")], []
