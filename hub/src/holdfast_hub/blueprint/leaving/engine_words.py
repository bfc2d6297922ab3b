"""A container as words for the command line of docker or podman: what the engine's create call says, one to one."""

import re
from typing import Any, Final

from holdfast_hub.blueprint.leaving.containers import Piece
from holdfast_protocol.errors import WireError

# What a client reads of its environment, or a shell keeps for itself: such a variable's value goes on the command line.
_TAKEN: Final = re.compile(
    r"PATH|HOME|IFS|ENV|CDPATH|SHELLOPTS|BASHOPTS|POSIXLY_CORRECT|EUID|UID|PPID|OPTIND|OPTARG|RANDOM|SECONDS|LINENO|PWD|"
    r"OLDPWD|TMPDIR|PS[0-9]|LC_ALL|(BASH|LD|DOCKER|CONTAINER|CONTAINERS|PODMAN|REGISTRY|STORAGE|GO|SSL|XDG|ej)_?.*"
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


def in_environment(name: str) -> bool:
    """Return whether a variable can reach the client by its environment."""
    return _NAME.fullmatch(name) is not None and _TAKEN.fullmatch(name) is None


def create_words(piece: Piece, network: list[str], sources: dict[str, str]) -> list[str]:
    """Return the words of `create` from its options to the image and what it runs.

    `network` are the words for it; `sources` the folders of the machine by the plan's own. Raises WireError
    (CannotSay) for what these command lines cannot say.
    """
    config, host = piece.config, piece.host
    words = list(network)
    for name, value in piece.variables.items():
        hidden = name in piece.secrets and in_environment(name)
        words += ["--env", name if hidden else f"{name}={value}"]
    for key, value in piece.labels.items():
        words += ["--label", f"{key}={value}"]
    said: tuple[tuple[str, Any], ...] = (
        ("--hostname", config.get("Hostname")),
        ("--workdir", config.get("WorkingDir")),
        ("--user", config.get("User")),
        ("--stop-timeout", config.get("StopTimeout")),
        ("--memory", host.get("Memory")),
        ("--memory-swap", host.get("MemorySwap")),
        ("--memory-reservation", host.get("MemoryReservation")),
        ("--cpus", cpus(host)),
        ("--cpu-shares", host.get("CpuShares")),
        ("--restart", restart(host)),
    )
    for option, given in said:
        words += [] if given is None else [option, str(given)]
    for option, on in (
        ("--interactive", config.get("OpenStdin")),
        ("--tty", config.get("Tty")),
        ("--privileged", host.get("Privileged")),
        ("--read-only", host.get("ReadonlyRootfs")),
    ):
        words += [option] if on else []
    for option, values in (
        ("--cap-add", host.get("CapAdd")),
        ("--cap-drop", host.get("CapDrop")),
        ("--security-opt", host.get("SecurityOpt")),
        ("--group-add", host.get("GroupAdd")),
        ("--expose", config.get("ExposedPorts")),
    ):
        words += [word for value in values or () for word in (option, value)]
    for mount in host.get("Mounts", ()):
        words += ["--mount", _mount(mount, sources)]
    for device in host.get("Devices", ()):
        parts = (device["PathOnHost"], device["PathInContainer"], device["CgroupPermissions"])
        if any(":" in part for part in parts):
            raise WireError("a device whose path has a colon cannot be said to docker", reason="CannotSay")
        words += ["--device", ":".join(parts)]
    for port, bindings in host.get("PortBindings", {}).items():
        words += [word for each in bindings for word in ("--publish", _published(port, each))]
    return words + _runs(piece)


def restart(host: dict[str, Any]) -> str:
    """Return the policy in the engine's words."""
    policy = host["RestartPolicy"]
    most = policy.get("MaximumRetryCount")
    return f"{policy['Name']}:{most}" if most else str(policy["Name"])


def cpus(host: dict[str, Any]) -> str | None:
    """Return the limit of CPUs as a decimal number; None for none."""
    nano = host.get("NanoCpus")
    if nano is None:
        return None
    whole, rest = divmod(int(nano), 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def source_of(mount: dict[str, Any], sources: dict[str, str]) -> str:
    """Return where on the machine a mount comes from."""
    text = str(mount["Source"])
    for begin, folder in sources.items():
        if text == begin or text.startswith(f"{begin}/"):
            return folder + text[len(begin) :]
    return text


def _mount(mount: dict[str, Any], sources: dict[str, str]) -> str:
    if mount["Type"] == "tmpfs":
        options = mount.get("TmpfsOptions", {})
        parts = ["type=tmpfs", f"target={mount['Target']}", f"tmpfs-mode={options.get('Mode', 0o777):o}"]
        parts += [f"tmpfs-size={options['SizeBytes']}"] if "SizeBytes" in options else []
    else:
        parts = ["type=bind", f"source={source_of(mount, sources)}", f"target={mount['Target']}"]
        parts += ["readonly"] if mount["ReadOnly"] else []
    return ",".join(map(_field, parts))


def _field(text: str) -> str:
    """Return a field of the comma-separated list an engine reads."""
    if "\n" in text or "\r" in text:
        raise WireError("a mount with a line break in its path cannot be said to docker", reason="CannotSay")
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if set(text) & set(',"') else text


def _published(port: str, binding: dict[str, str]) -> str:
    address = binding["HostIp"]
    head = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    return f"{head}{binding['HostPort']}:{port}"


def _runs(piece: Piece) -> list[str]:
    entry, command = piece.config.get("Entrypoint"), piece.config.get("Cmd") or []
    if not entry:
        return ["--", piece.image, *command]
    if not entry[0]:
        raise WireError("a command whose first word is empty cannot be said to docker", reason="CannotSay")
    return ["--entrypoint", entry[0], "--", piece.image, *entry[1:], *command]
