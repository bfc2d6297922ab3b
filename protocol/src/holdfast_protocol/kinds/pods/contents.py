"""What ConfigMaps and Secrets hold, and what of it a Pod refers to."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.podspec import ConfigMapDocument, PodSpec, SecretDocument
from holdfast_protocol.kinds.pods.shape import refuse, shaped
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_BYTES: Final = 1_048_576  # of one ConfigMap or Secret, as in Kubernetes
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def contents(body: dict[str, Any]) -> dict[str, bytes]:
    """Return a ConfigMap's or Secret's values by key. Raises PermanentError or UnsupportedError, naming every path."""
    problems: list[Problem] = []
    if body.get("apiVersion") != "v1":
        problems.append(Problem(f"{str(body.get('apiVersion'))[:80]!r} is not v1", path="apiVersion"))
    if body.get("kind") == "Secret":
        secret = shaped(body, SecretDocument, "")
        found = _decoded(secret.data, "data", problems) | _encoded(secret.string_data)
    else:
        config = shaped(body, ConfigMapDocument, "")
        problems.extend(
            Problem("is in data too", path=f"binaryData.{key}")
            for key in config.data.keys() & config.binary_data.keys()
        )
        found = _encoded(config.data) | _decoded(config.binary_data, "binaryData", problems)
    problems.extend(
        Problem("a key is letters, digits, '-', '_' and '.', at most 253", path=f"data.{key[:80]!r}")
        for key in found
        if not is_key(key)
    )
    if sum(map(len, found.values())) > MAX_BYTES:
        problems.append(Problem(f"more than {MAX_BYTES} bytes", path="data"))
    if problems:
        refuse(problems, reason="BadContents")
    return found


def is_key(text: str) -> bool:
    """Return whether `text` may be a key, and so a file's name: never a path."""
    return _KEY.fullmatch(text) is not None and text != "." and not text.startswith("..")


def _encoded(values: Mapping[str, str]) -> dict[str, bytes]:
    return {key: value.encode() for key, value in values.items()}


def _decoded(values: Mapping[str, str], where: str, problems: list[Problem]) -> dict[str, bytes]:
    found = {}
    for key, value in values.items():
        try:
            found[key] = base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            problems.append(Problem("not base64", path=f"{where}.{key[:80]}"))
    return found


class Reference(msgspec.Struct, frozen=True):
    """One mention of a ConfigMap or Secret; `key` is "" for all of it."""

    kind: str
    name: str
    path: str
    key: str = ""
    optional: bool = False


class Sources(msgspec.Struct, frozen=True):
    """The referred values: by (kind, name), without those that are optional and absent."""

    values: Mapping[tuple[str, str], Mapping[str, bytes]] = {}

    def get(self, kind: str, name: str) -> Mapping[str, bytes]:
        return self.values.get((kind, name), {})


def references(pod: PodSpec) -> Iterator[Reference]:
    """Yield everything a Pod takes from ConfigMaps and Secrets, with its path in the Pod's spec."""
    for field, containers in (("initContainers", pod.init_containers), ("containers", pod.containers)):
        for index, container in enumerate(containers):
            for number, source in enumerate(container.env_from):
                path = f"{field}[{index}].envFrom[{number}]"
                if source.config_map_ref:
                    ref = source.config_map_ref
                    yield Reference("ConfigMap", ref.name, f"{path}.configMapRef", optional=ref.optional)
                if source.secret_ref:
                    ref = source.secret_ref
                    yield Reference("Secret", ref.name, f"{path}.secretRef", optional=ref.optional)
            for number, variable in enumerate(container.env):
                if variable.value_from is None:
                    continue
                path = f"{field}[{index}].env[{number}].valueFrom"
                for kind, name, key in (
                    ("ConfigMap", "configMapKeyRef", variable.value_from.config_map_key_ref),
                    ("Secret", "secretKeyRef", variable.value_from.secret_key_ref),
                ):
                    if key:
                        yield Reference(kind, key.name, f"{path}.{name}", key=key.key, optional=key.optional)
    for index, volume in enumerate(pod.volumes):
        path = f"volumes[{index}]"
        if volume.config_map:
            yield Reference(
                "ConfigMap", volume.config_map.name, f"{path}.configMap", optional=volume.config_map.optional
            )
        if volume.secret:
            yield Reference("Secret", volume.secret.secret_name, f"{path}.secret", optional=volume.secret.optional)


def sources(
    pod: PodSpec, namespace: str, resources: Mapping[ResourceKey, Resource], where: str
) -> tuple[Sources, list[Problem]]:
    """Return what the Pod refers to, out of the target, and what is missing of it."""
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    problems: list[Problem] = []
    middle = f"{namespace}/" if namespace else ""
    for reference in references(pod):
        resource = resources.get(ResourceKey(f"{reference.kind}/{middle}{reference.name}"))
        pair = (reference.kind, reference.name)
        if resource is not None and pair not in found:
            found[pair] = contents(resource.body)
        values = found.get(pair)
        if reference.optional or (values is not None and (not reference.key or reference.key in values)):
            continue
        what = f"key {reference.key!r} of " if values is not None else ""
        problems.append(
            Problem(
                f"{what}{reference.kind} {middle}{reference.name} is not in the site's target",
                path=f"{where}.{reference.path}",
                hint=f"add the {reference.kind} to the blueprint, or mark the reference optional",
            )
        )
    return Sources(found), problems


def referred(pod: PodSpec, found: Sources) -> list[tuple[str, str, str, dict[str, str]]]:
    """Return the referred values and nothing else, in a stable order and as text, for a digest."""
    rows = []
    for reference in references(pod):
        values = found.get(reference.kind, reference.name)
        if reference.key:
            values = {reference.key: values[reference.key]} if reference.key in values else {}
        rows.append(
            (
                reference.kind,
                reference.name,
                reference.key,
                {k: base64.b64encode(v).decode() for k, v in values.items()},
            )
        )
    return sorted(rows, key=lambda row: row[:3])
