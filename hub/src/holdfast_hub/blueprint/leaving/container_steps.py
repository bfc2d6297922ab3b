"""The steps by which install.sh makes an instance's containers, and the files they need of the folder."""

from collections.abc import Sequence
from typing import Final

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.blueprint.leaving.compose import compose
from holdfast_hub.blueprint.leaving.containers import PodPiece
from holdfast_hub.blueprint.leaving.engine_words import create_words, in_environment, restart
from holdfast_hub.blueprint.leaving.folder import PRIVATE
from holdfast_hub.blueprint.leaving.room import CONTAINERS, Room, identity, octal
from holdfast_hub.blueprint.leaving.shell import call
from holdfast_protocol.wire.digest import digest

COMPOSE: Final = "docker-compose.yaml"  # a hyphen: no resource's id can be called so
_STATE: Final = "/var/lib/ejected"
_HEAD: Final = """\
# For docker compose, instead of the containers install.sh makes (sh install.sh --no-containers installs the rest):
#   docker compose up --detach
# Files of volumes are those in volumes/ beside this file. Empty volumes begin as root's own, not writable by all.
"""


class Script:
    """What containers add to the script: lines that fetch images, lines that make Pods."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.private = False  # a secret's text stands in a line


def write(room: Room, pods: Sequence[PodPiece]) -> Script:
    """Write the files of containers and their steps. Raises WireError for what cannot be said."""
    script = Script()
    if not pods:
        return script
    for image, pull in {(each.image, each.pull): None for pod in pods for each in pod.pieces}:
        script.images.append(call("image", identity("image", image), image, pull))
    lines = []
    if any(pod.networked for pod in pods):
        lines.append(call("network", identity("network", room.instance), room.instance))
    mounts = [mount for pod in pods for piece in pod.pieces for mount in piece.host.get("Mounts", ())]
    claimed = sorted({str(mount.get("Source")) for mount in mounts if str(mount.get("Source")).startswith("claims/")})
    lines += [call("claim", f"{_STATE}/{room.instance}/{path}") for path in claimed]
    for pod in pods:
        lines += _pod(room, pod, script)
    room.step(CONTAINERS, lines, "mkdir", "sleep")
    value, unsaid = compose(room.instance, pods)
    head = _HEAD + "".join(f"# Not said here: {each!r}\n" for each in unsaid)
    secret = any(each.secrets or each.tainted for pod in pods for each in pod.pieces)
    head += "# KEEP IT TO YOURSELF: it holds secrets.\n" if secret else ""
    room.filing.line(COMPOSE, head + yaml_writer.write(value), PRIVATE if secret else 0o644)
    probes = [(each.source.liveness_probe, each.source.readiness_probe) for pod in pods for each in pod.pieces]
    if any(probe for both in probes for probe in both):
        room.remarks.append("Probes are not asked any more: docker and podman restart only what ends")
    return script


def _pod(room: Room, pod: PodPiece, script: Script) -> list[str]:
    state = f"{_STATE}/{room.instance}"
    sources = {pod.plan.folder: f"{state}/pods/{pod.name}", "claims": f"{state}/claims"}
    made: list[list[str]] = []
    secrets: dict[str, str] = {}
    for piece in pod.pieces:
        if piece.joins:
            network = ["--network", f"container:{pod.first.name}"]
        elif piece.host.get("NetworkMode") == "host":
            network = ["--network", "host"]
        elif pod.networked:
            network = ["--network", room.instance]
            if piece is pod.first:
                network += [word for alias in pod.aliases for word in ("--network-alias", alias)]
        else:
            network = []
        made.append(create_words(piece, network, sources))
        hidden = sorted(name for name in piece.secrets if in_environment(name) and name in piece.variables)
        script.private |= piece.tainted or len(hidden) < len(piece.secrets & piece.variables.keys())
        if hidden:
            secrets[piece.name] = f"secrets/environment/{piece.service}"
            for name in hidden:
                room.filing.put(f"{secrets[piece.name]}/{name}", piece.variables[name], PRIVATE)
    volumes = []
    for volume, files in pod.plan.files.items():
        source = next(each for each in pod.workload.pod_of(pod.plan.replica).volumes if each.name == volume)
        for each in files:
            mode = PRIVATE if source.secret else 0o644
            path = room.filing.put(f"volumes/{pod.name}/{volume}/{each.path}", each.content, mode)
            volumes.append(call("volume", path, f"{volume}/{each.path}", octal(each.mode)))
    contents = [[each.path, each.content.hex(), each.mode] for files in pod.plan.files.values() for each in files]
    values = [sorted((name, piece.variables.get(name, "")) for name in piece.secrets) for piece in pod.pieces]
    is_from = digest([made, contents, values])[-32:]
    names = [piece.name for piece in pod.pieces]
    lines = [call("pod", identity("pod", pod.name), pod.name, is_from, pod.first.name, *names)]
    lines += [call("shelf", volume, "777") for volume in pod.plan.folders]
    lines += [call("shelf", volume, "755") for volume in pod.plan.files]
    lines += volumes
    lines += [call("host", path, kind) for path, kind in pod.plan.host_paths]
    for piece, words in zip(pod.pieces, made, strict=True):
        kind = "init" if piece.init else "main"
        lines.append(call("container", piece.name, kind, restart(piece.host), secrets.get(piece.name, ""), *words))
    return lines
