"""Containers as a file for docker compose (Compose specification), and what such a file cannot say."""

import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

from holdfast_hub.blueprint.leaving.containers import Piece, PodPiece
from holdfast_hub.blueprint.leaving.engine_words import cpus, restart
from holdfast_protocol.kinds.pods.podspec import Probe

_PULLS: Final = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}


def compose(name: str, pods: Sequence[PodPiece]) -> tuple[dict[str, Any], list[str]]:
    """Return the file as a value, and what it cannot say."""
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    unsaid: list[str] = []
    for pod in pods:
        inits = [each.service for each in pod.pieces if each.init]
        for number, piece in enumerate(pod.pieces):
            service = _service(piece, pod, volumes, unsaid)
            service["container_name"] = piece.name
            waits = dict.fromkeys(inits if not piece.init else inits[:number][-1:], "service_completed_successfully")
            if piece.joins:
                waits[pod.first.service] = "service_started"
            if waits:
                service["depends_on"] = {one: {"condition": condition} for one, condition in waits.items()}
            services[piece.service] = service
    made: dict[str, Any] = {"name": re.sub(r"[^a-z0-9_-]", "-", name.lower()), "services": services}
    if volumes:
        made["volumes"] = volumes
    if any(pod.networked for pod in pods):
        made["networks"] = {"default": {"name": name}}
    return _literal(made), unsaid


def _service(piece: Piece, pod: PodPiece, volumes: dict[str, Any], unsaid: list[str]) -> dict[str, Any]:
    config, host = piece.config, piece.host
    said: dict[str, Any] = {
        "image": piece.image,
        "pull_policy": _PULLS[piece.pull],
        "entrypoint": config.get("Entrypoint"),
        "command": config.get("Cmd"),
        "environment": piece.variables,
        "labels": piece.labels,
        "hostname": config.get("Hostname"),
        "working_dir": config.get("WorkingDir"),
        "user": config.get("User"),
        "stop_grace_period": f"{config['StopTimeout']}s",
        "stdin_open": config.get("OpenStdin"),
        "tty": config.get("Tty"),
        "restart": restart(host),
        "mem_limit": host.get("Memory"),
        "memswap_limit": host.get("MemorySwap"),
        "mem_reservation": host.get("MemoryReservation"),
        "cpus": float(limit) if (limit := cpus(host)) else None,
        "cpu_shares": host.get("CpuShares"),
        "privileged": host.get("Privileged"),
        "read_only": host.get("ReadonlyRootfs"),
        "cap_add": host.get("CapAdd"),
        "cap_drop": host.get("CapDrop"),
        "security_opt": host.get("SecurityOpt"),
        "group_add": host.get("GroupAdd"),
        "devices": [
            f"{each['PathOnHost']}:{each['PathInContainer']}:{each['CgroupPermissions']}"
            for each in host.get("Devices", ())
        ],
        "expose": list(config.get("ExposedPorts", ())),
        "ports": _ports(host),
        "volumes": _volumes(piece, pod, volumes, unsaid),
        "healthcheck": _healthcheck(piece, unsaid),
    }
    if piece.joins:
        said["network_mode"] = f"service:{pod.first.service}"
    elif host.get("NetworkMode") == "host":
        said["network_mode"] = "host"
    elif pod.networked and piece is pod.first and pod.aliases:
        said["networks"] = {"default": {"aliases": list(pod.aliases)}}
    return {key: value for key, value in said.items() if value not in (None, [], {}, False, "")}


def _ports(host: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for port, bindings in host.get("PortBindings", {}).items():
        number, _, protocol = port.partition("/")
        for each in bindings:
            entry: dict[str, Any] = {"target": int(number), "published": each["HostPort"], "protocol": protocol}
            found.append(entry | ({"host_ip": each["HostIp"]} if each["HostIp"] else {}))
    return found


def _volumes(piece: Piece, pod: PodPiece, volumes: dict[str, Any], unsaid: list[str]) -> list[dict[str, Any]]:
    found = []
    for mount in piece.host.get("Mounts", ()):
        entry: dict[str, Any] = {"type": mount["Type"], "target": mount["Target"]}
        if mount["Type"] == "tmpfs":
            options = mount.get("TmpfsOptions", {})
            sizes = {"size": options["SizeBytes"]} if "SizeBytes" in options else {}
            found.append(entry | {"tmpfs": {"mode": options.get("Mode", 0o777), **sizes}})
            continue
        source = mount["Source"]
        inside = source.startswith(f"{pod.plan.folder}/")
        name, _, sub = source.removeprefix(f"{pod.plan.folder}/").partition("/")
        if inside and name in pod.plan.files:
            entry["source"] = f"./volumes/{pod.name}/{name}" + (f"/{sub}" if sub else "")
        elif inside or source.startswith("claims/"):
            name = f"{pod.name}-{name}" if inside else f"claim-{'-'.join(source.split('/')[1:3])}"
            volumes[name] = {}
            entry |= {"type": "volume", "source": name, "volume": {"nocopy": True}}
            if inside and sub:
                entry["volume"]["subpath"] = sub
                unsaid.append(
                    f"{piece.service}: a folder within a volume (subpath) needs Docker Engine 26 and a new Compose"
                )
        else:
            entry["source"] = source
        if mount["ReadOnly"]:
            entry["read_only"] = True
        found.append(entry)
    return found


def _healthcheck(piece: Piece, unsaid: list[str]) -> dict[str, Any] | None:
    chosen: Probe | None = None
    for word, probe in (
        ("livenessProbe", piece.source.liveness_probe),
        ("readinessProbe", piece.source.readiness_probe),
        ("startupProbe", piece.source.startup_probe),
    ):
        if probe is None:
            continue
        if probe.exec_ is None:
            unsaid.append(f"{piece.service}: {word} asks over the network; Compose runs a program inside the container")
        elif chosen is None:
            chosen = probe
            if word == "livenessProbe":
                unsaid.append(f"{piece.service}: {word} is its healthcheck, and failing restarts nothing")
        else:
            unsaid.append(
                f"{piece.service}: {word} is one probe too many for Compose: {shlex.join(probe.exec_.command)[:200]}"
            )
    if chosen is None or chosen.exec_ is None:
        return None
    return {
        "test": ["CMD", *chosen.exec_.command],
        "interval": f"{chosen.period_seconds}s",
        "timeout": f"{chosen.timeout_seconds}s",
        "retries": chosen.failure_threshold,
        "start_period": f"{chosen.initial_delay_seconds}s",
    }


def _literal(value: Any) -> Any:
    """Return a value whose texts mean themselves: Compose reads a dollar sign as the start of a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_literal(each) for each in value]
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    return value
