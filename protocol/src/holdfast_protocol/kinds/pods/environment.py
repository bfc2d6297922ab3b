"""A container's variables, and `$(NAME)` in them and in its command, as Kubernetes defines both."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds.pods.contents import Sources
from holdfast_protocol.kinds.pods.podspec import Container, Labels, PodSpec

_MARK: Final = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")
_MAP_FIELD: Final = re.compile(r"metadata\.(?P<map>labels|annotations)\['(?P<key>[^']{1,317})'\]")


class Identity(msgspec.Struct, frozen=True):
    """What `fieldRef` may ask for."""

    name: str
    namespace: str
    labels: Labels
    annotations: Labels


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with `$(NAME)` replaced where NAME is known and left alone where not; `$$` is a plain `$`."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        return variables.get(match["name"], match[0])

    return _MARK.sub(value, text)


def field_value(path: str, identity: Identity) -> str:
    """Return what a `fieldRef` names. Raises KeyError for a field that is unknown here."""
    entry = _MAP_FIELD.fullmatch(path)
    if entry:
        values = identity.labels if entry["map"] == "labels" else identity.annotations
        return values.get(entry["key"], "")
    return {"metadata.name": identity.name, "metadata.namespace": identity.namespace}[path]


def annotations_used(pod: PodSpec) -> set[str]:
    """Return the keys of the annotations that containers ask for by `fieldRef`."""
    used = set()
    for container in (*pod.init_containers, *pod.containers):
        for variable in container.env:
            field = variable.value_from.field_ref if variable.value_from else None
            entry = _MAP_FIELD.fullmatch(field.field_path) if field else None
            if entry and entry["map"] == "annotations":
                used.add(entry["key"])
    return used


def variables(
    container: Container, found: Sources, identity: Identity, where: str
) -> tuple[dict[str, str], list[Problem]]:
    """Return a container's variables in order, the later winning, and what is wrong with them."""
    values: dict[str, str] = {}
    problems: list[Problem] = []

    def put(name: str, value: str | bytes, path: str) -> None:
        try:
            text = value if isinstance(value, str) else value.decode()
        except UnicodeDecodeError:
            problems.append(Problem("not UTF-8, so no variable can hold it", path=path, hint="mount it as a file"))
            return
        if not name or "=" in name or "\0" in name + text:
            problems.append(Problem(f"{name[:80]!r} cannot be a variable's name, or its value holds a NUL", path=path))
            return
        values[name] = text

    for number, source in enumerate(container.env_from):
        path = f"{where}.envFrom[{number}]"
        if (source.config_map_ref is None) == (source.secret_ref is None):
            problems.append(Problem("exactly one of configMapRef and secretRef is needed", path=path))
        for kind, ref in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if ref:
                for key, value in sorted(found.get(kind, ref.name).items()):
                    put(source.prefix + key, value, path)
    for number, variable in enumerate(container.env):
        path = f"{where}.env[{number}]"
        if variable.value_from is None:
            put(variable.name, expanded(variable.value, values), path)
            continue
        config, secret, field = (
            variable.value_from.config_map_key_ref,
            variable.value_from.secret_key_ref,
            variable.value_from.field_ref,
        )
        if [config, secret, field].count(None) != 2 or variable.value:
            problems.append(
                Problem("exactly one of value, configMapKeyRef, secretKeyRef and fieldRef is needed", path=path)
            )
        for kind, wanted in (("ConfigMap", config), ("Secret", secret)):
            if wanted and wanted.key in found.get(kind, wanted.name):
                put(variable.name, found.get(kind, wanted.name)[wanted.key], path)
        if field:
            try:
                put(variable.name, field_value(field.field_path, identity), path)
            except KeyError:
                problems.append(
                    Problem(
                        f"{field.field_path[:80]!r} is not known at a site",
                        path=f"{path}.valueFrom.fieldRef.fieldPath",
                        hint="metadata.name, metadata.namespace, metadata.labels['…'] and metadata.annotations['…'] are",
                    )
                )
    return values, problems
