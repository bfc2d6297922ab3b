"""Who we are to a registry: out of Secrets of type kubernetes.io/dockerconfigjson. Pure."""

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.contents import contents
from holdfast_protocol.kinds.pods.podspec import PodSpec
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

KEY: Final = ".dockerconfigjson"
DOCKER_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


class Login(msgspec.Struct, frozen=True):
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, …)"  # a password is in no message and no log


class _Auth(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""  # base64 of username:password


class _Config(msgspec.Struct, frozen=True):
    auths: dict[str, _Auth]


def logins(
    pod: PodSpec, namespace: str, resources: Mapping[ResourceKey, Resource], where: str
) -> tuple[dict[str, Login], list[Problem]]:
    """Return the logins by registry (host, or host:port) that a Pod's imagePullSecrets hold, and what is wrong."""
    found: dict[str, Login] = {}
    problems: list[Problem] = []
    for number, reference in enumerate(pod.image_pull_secrets):
        path = f"{where}.imagePullSecrets[{number}]"
        resource = resources.get(pull_secret_key(namespace, reference.name))
        if resource is None:
            problems.append(Problem(f"Secret {reference.name[:80]} is not in the site's target", path=path))
            continue
        try:
            for registry, login in _read(contents(resource.body).get(KEY, b"")).items():
                found.setdefault(registry, login)
        except (msgspec.DecodeError, ValueError):
            problems.append(
                Problem(f"Secret {reference.name[:80]} holds no {KEY} with auths of username and password", path=path)
            )
    return found, problems


def pull_secret_key(namespace: str, name: str) -> ResourceKey:
    return ResourceKey(f"Secret/{namespace}/{name}" if namespace else f"Secret/{name}")


def _read(text: bytes) -> dict[str, Login]:
    """Raises DecodeError or ValueError for anything that is not a Docker configuration."""
    config = msgspec.json.decode(text, type=_Config)
    return {registry_host(server): _login(entry) for server, entry in config.auths.items()}


def _login(entry: _Auth) -> Login:
    if entry.username or not entry.auth:
        return Login(entry.username, entry.password)
    user, _, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    return Login(user, password)


def registry_host(server: str) -> str:
    """Return a registry's host[:port] from how a configuration names it: with or without https:// and a path."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DOCKER_HUB if host in _HUB_NAMES else host
