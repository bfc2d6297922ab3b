"""From containers to one readiness for status: pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_edge.core.observed import Readiness
from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.probes import Verdict
from holdfast_protocol.kinds.pods.podspec import RestartPolicy
from holdfast_protocol.kinds.pods.specification import PodPlan

UNSETTLED_S: Final = 10.0  # a container the engine restarted counts as failing until it ran this long
MAX_LISTED: Final = 32  # containers in a status


class Judgement(msgspec.Struct, frozen=True):
    readiness: Readiness = "ready"
    reason: str = ""
    message: str = ""


_BY_GRAVITY: Final[tuple[Readiness, ...]] = ("ready", "progressing", "degraded")


def judgement(
    pods: tuple[PodPlan, ...],
    found: tuple[Found, ...],
    policy: RestartPolicy,
    verdicts: Mapping[str, Verdict],
    uptimes: Mapping[str, float],
) -> Judgement:
    """Return the gravest of what its containers show; `verdicts` and `uptimes` (seconds) by id of what runs."""
    mains = {(str(pod.replica), planned.container) for pod in pods for planned in pod.containers}
    inits = {(str(pod.replica), planned.container) for pod in pods for planned in pod.init}
    here = {(each.replica, each.container) for each in found}
    every = [Judgement("progressing", "Starting", "not all containers are there")] if mains - here else []
    for each in found:
        where = f"{each.replica}/{each.container}"
        if (each.replica, each.container) in mains:
            every.append(_of_main(each, where, policy, verdicts.get(each.id), uptimes.get(each.id, 0.0)))
        elif (each.replica, each.container) in inits:
            every.append(_of_init(each, where, (each.replica, each.container), mains, here))
    worst = max(every, key=lambda one: _BY_GRAVITY.index(one.readiness), default=Judgement())
    if worst.readiness == "ready" and mains and policy != "Always":
        ended = [each for each in found if (each.replica, each.container) in mains and each.state == "exited"]
        if len(ended) == len(mains):
            return Judgement("ready", "Completed", "all containers ended with exit code 0")
    return worst


def _of_main(each: Found, where: str, policy: RestartPolicy, verdict: Verdict | None, uptime: float) -> Judgement:
    if each.state == "restarting" or (each.state == "running" and each.restarts and uptime < UNSETTLED_S):
        return Judgement("degraded", "CrashLoop", f"{where}: {_end(each)}, {each.restarts} restarts")
    if each.state == "exited" and policy != "Always":
        if each.exit_code == 0:
            return Judgement()
        return Judgement("degraded", "ContainerFailed", f"{where}: {_end(each)}")
    if each.state != "running":
        return Judgement("progressing", "NotRunning", f"{where}: {each.state}")
    if verdict is None or verdict.ready:
        return Judgement()
    if verdict.restart_at:
        return Judgement("degraded", "ProbeFailed", f"{where}: {verdict.why}")
    if verdict.was_ready:
        return Judgement("degraded", "NotReady", f"{where}: {verdict.why}")
    return Judgement("progressing", "Starting", f"{where}: {verdict.why or 'its probes have not passed yet'}")


def _of_init(
    each: Found, where: str, place: tuple[str, str], mains: set[tuple[str, str]], here: set[tuple[str, str]]
) -> Judgement:
    if any(replica == place[0] for replica, _ in mains & here):
        return Judgement()  # the others run: it has done its work
    if each.state == "restarting" or (each.state == "exited" and each.exit_code):
        return Judgement("degraded", "InitFailed", f"{where}: {_end(each)}")
    return Judgement("progressing", "Starting", f"{where}: {each.state}")


def _end(each: Found) -> str:
    if each.out_of_memory:
        return f"exit code {each.exit_code}, out of memory"
    return f"exit code {each.exit_code}" + (f" ({each.error})" if each.error else "")


def detail(found: tuple[Found, ...], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Return what a status shows of the containers: ids, states and restarts, nothing of what is inside."""
    return {
        "containers": [
            {
                "id": each.id[:12],
                "name": each.name,
                "state": each.state,
                "image": each.image[:12],
                "restarts": each.restarts,
                "ready": each.state == "running" and (each.id not in verdicts or verdicts[each.id].ready),
            }
            for each in found[:MAX_LISTED]
        ],
        "count": len(found),
    }
