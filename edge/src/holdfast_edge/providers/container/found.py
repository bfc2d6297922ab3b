"""A container of ours as the engine has it, whichever engine it is."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.kinds.pods.specification import (
    CONTAINER,
    DIGEST,
    INDEX,
    INITIAL,
    REPLICA,
    RESOURCE,
    RUN,
    SIBLINGS,
)

State = Literal["created", "running", "paused", "restarting", "exited", "dead"]
_STATES: Final[Mapping[str, State]] = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "stopping": "running",
    "paused": "paused",
    "restarting": "restarting",
    "exited": "exited",
    "stopped": "exited",
}
_TIME: Final = re.compile(r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)")


class Found(msgspec.Struct, frozen=True):
    id: str
    name: str
    resource: str
    digest: str
    replica: str
    container: str
    image: str  # id, without its algorithm
    state: State
    exit_code: int = 0
    error: str = ""  # why the engine could not start it
    started_at: float = 0.0  # seconds since 1970 by the engine's clock, 0: never
    restarts: int = 0  # by the engine, since it was made
    out_of_memory: bool = False
    restart_policy: str = ""
    memory: int = 0
    nano_cpus: int = 0
    grace_s: int = 10  # between being asked to stop and being killed
    address: str = ""  # in the engine's own network
    bindings: Mapping[str, int] = {}  # 80/tcp -> the host's port
    network: str = ""  # mode
    networks: Mapping[str, frozenset[str]] = {}  # the names it answers to, by network
    labels: Mapping[str, str] = {}
    mounts: tuple[str, ...] = ()  # the machine's folders it sees
    finished_at: float = 0.0  # seconds since 1970 by the engine's clock, 0: not yet
    run: str = ""
    index: int = 0
    initial: bool = False  # an initContainer
    siblings: int = 1  # containers of its Pod that are not, itself included
    retries: int = 0  # by the engine, after which it gives up


def found(inspected: Mapping[str, Any]) -> Found:
    """Return what an engine's inspect call says. Fields an engine leaves out count as empty."""
    state = inspected.get("State") or {}
    config = inspected.get("Config") or {}
    host = inspected.get("HostConfig") or {}
    labels = config.get("Labels") or {}
    network = inspected.get("NetworkSettings") or {}
    networks = network.get("Networks") or {}
    return Found(
        id=str(inspected["Id"]),
        name=str(inspected.get("Name", "")).lstrip("/"),
        resource=str(labels.get(RESOURCE, "")),
        digest=str(labels.get(DIGEST, "")),
        replica=str(labels.get(REPLICA, "")),
        container=str(labels.get(CONTAINER, "")),
        image=image_id(inspected.get("Image")),
        state=_STATES.get(str(state.get("Status", "")).lower(), "dead"),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or "")[:300],
        started_at=_seconds(state.get("StartedAt")),
        restarts=int(inspected.get("RestartCount") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        restart_policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        memory=int(host.get("Memory") or 0),
        nano_cpus=int(host.get("NanoCpus") or 0),
        grace_s=int(config["StopTimeout"] if config.get("StopTimeout") is not None else 10),
        address=next((str(each["IPAddress"]) for each in networks.values() if each and each.get("IPAddress")), ""),
        bindings={
            port: int(entries[0]["HostPort"])
            for port, entries in (network.get("Ports") or {}).items()
            if entries and str(entries[0].get("HostPort", "")).isdigit()
        },
        network=str(host.get("NetworkMode") or ""),
        networks={str(name): frozenset((each or {}).get("Aliases") or ()) for name, each in networks.items()},
        labels={str(name): str(value) for name, value in labels.items()},
        mounts=tuple(str(each.get("Source", "")) for each in inspected.get("Mounts") or ()),
        finished_at=_seconds(state.get("FinishedAt")),
        run=str(labels.get(RUN, "")),
        initial=INITIAL in labels,
        siblings=int(labels[SIBLINGS]) if str(labels.get(SIBLINGS, "")).isdigit() else 1,
        retries=int((host.get("RestartPolicy") or {}).get("MaximumRetryCount") or 0),
        index=int(labels[INDEX]) if str(labels.get(INDEX, "")).isdigit() else 0,
    )


def image_id(text: object) -> str:
    return str(text or "").removeprefix("sha256:")


def _seconds(text: object) -> float:
    match = _TIME.fullmatch(str(text or ""))
    if match is None or match["seconds"].startswith("0001"):
        return 0.0
    whole = datetime.fromisoformat(match["seconds"] + match["zone"].replace("Z", "+00:00"))
    return whole.timestamp() + float(match["fraction"] or 0)
