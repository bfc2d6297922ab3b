"""What Kubernetes' own `status` of a workload would say: pure. Times are RFC 3339, of the engine's clock."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast_edge.providers.container.found import Found
from holdfast_edge.providers.container.planner import Planned
from holdfast_edge.providers.container.probes import Verdict
from holdfast_protocol.kinds.pods.specification import PodPlan


def of_workload(
    planned: Planned, found: Sequence[Found], verdicts: Mapping[str, Verdict], uptimes: Mapping[str, float]
) -> dict[str, Any]:
    """Return the status of a Deployment, StatefulSet, DaemonSet or Pod. `uptimes` are seconds by id of what runs."""
    kind = planned.workload.kind
    if kind == "Pod":
        return _pod(planned, planned.pods[0], found, verdicts)
    ready = available = updated = there = 0
    for pod in planned.pods:
        of_pod = [each for each in found if each.replica == str(pod.replica)]
        there += bool(of_pod)
        updated += bool(of_pod) and all(each.digest == pod.digest for each in of_pod)
        serving = _serving(pod, of_pod, verdicts)
        ready += serving
        youngest = min((uptimes.get(each.id, 0.0) for each in of_pod if each.state == "running"), default=0.0)
        available += serving and youngest >= planned.workload.min_ready_s
    wanted = planned.workload.replicas
    if kind == "DaemonSet":
        return {
            "desiredNumberScheduled": wanted,
            "currentNumberScheduled": there,
            "numberReady": ready,
            "numberAvailable": available,
            "numberUnavailable": wanted - available,
            "updatedNumberScheduled": updated,
            "numberMisscheduled": 0,
        }
    status: dict[str, Any] = {
        "replicas": there,
        "readyReplicas": ready,
        "availableReplicas": available,
        "updatedReplicas": updated,
    }
    if kind == "StatefulSet":
        return status | {"currentReplicas": there - updated if updated < there else there}
    least = wanted - planned.workload.at_once if wanted > planned.workload.at_once else min(wanted, 1)
    return status | {
        "unavailableReplicas": wanted - available,
        "conditions": [
            _condition("Available", available >= least, "MinimumReplicasAvailable", "MinimumReplicasUnavailable"),
            _condition("Progressing", True, "NewReplicaSetAvailable" if updated == wanted else "ReplicaSetUpdated", ""),
        ],
    }


def _pod(planned: Planned, pod: PodPlan, found: Sequence[Found], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    by_name = {each.container: each for each in found}
    mains = [by_name[each.container] for each in pod.containers if each.container in by_name]
    ready = _serving(pod, found, verdicts)
    status: dict[str, Any] = {
        "phase": phase(pod, mains, planned.workload.pod.restart_policy == "Always"),
        "conditions": [
            _condition("Initialized", len(mains) == len(pod.containers), "", "ContainersNotInitialized"),
            _condition("ContainersReady", ready, "", "ContainersNotReady"),
            _condition("Ready", ready, "", "ContainersNotReady"),
        ],
        "containerStatuses": [_container(each, verdicts) for each in mains],
    }
    address = next((each.address for each in mains if each.address), "")
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    initial = [by_name[each.container] for each in pod.init if each.container in by_name]
    if initial:
        status["initContainerStatuses"] = [_container(each, verdicts) for each in initial]
    started = [each.started_at for each in (*initial, *mains) if each.started_at]
    return status | ({"startTime": moment(min(started))} if started else {})


def phase(pod: PodPlan, mains: Sequence[Found], always: bool) -> str:
    """Return a Pod's phase from its containers, without the initial ones."""
    ended = [each for each in mains if each.state in ("exited", "dead") and each.started_at]
    if len(mains) < len(pod.containers) or any(each.state == "created" for each in mains):
        return "Pending"
    if not always and len(ended) == len(mains):
        return "Succeeded" if all(each.exit_code == 0 for each in ended) else "Failed"
    return "Running"


def _serving(pod: PodPlan, found: Sequence[Found], verdicts: Mapping[str, Verdict]) -> bool:
    running = {each.container: each for each in found if each.state == "running"}
    return all(each.container in running and _is_ready(running[each.container], verdicts) for each in pod.containers)


def _is_ready(each: Found, verdicts: Mapping[str, Verdict]) -> bool:
    return each.state == "running" and (each.id not in verdicts or verdicts[each.id].ready)


def _container(each: Found, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    if each.state in ("running", "paused"):
        state: dict[str, Any] = {"running": {"startedAt": moment(each.started_at)}}
    elif each.state in ("exited", "dead"):
        state = {
            "terminated": {
                "exitCode": each.exit_code,
                "reason": "OOMKilled" if each.out_of_memory else ("Completed" if each.exit_code == 0 else "Error"),
                "startedAt": moment(each.started_at),
                "finishedAt": moment(each.finished_at),
            }
        }
    else:
        waiting = "CrashLoopBackOff" if each.state == "restarting" else "ContainerCreating"
        state = {"waiting": {"reason": waiting} | ({"message": each.error} if each.error else {})}
    return {
        "name": each.container,
        "ready": _is_ready(each, verdicts),
        "started": each.state == "running",
        "restartCount": each.restarts,
        "containerID": each.id,
        "imageID": each.image,
        "state": state,
    }


def _condition(kind: str, true: bool, why: str, why_not: str) -> dict[str, str]:
    condition = {"type": kind, "status": "True" if true else "False"}
    reason = why if true else why_not
    return condition | ({"reason": reason} if reason else {})


def moment(seconds: float) -> str | None:
    """Return a time as Kubernetes writes it, None for never."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
