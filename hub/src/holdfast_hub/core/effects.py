"""What a change of a site's content does there beside the change itself: what starts again and why, what must be fetched.

Said from the same readings of a resource that sites use. A site may do less: an image it has, a unit that does not run.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint.images import images_of
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import systemd_drop_in, systemd_mount, systemd_service, systemd_socket, systemd_timer
from holdfast_protocol.kinds.pods.contents import referred, sources
from holdfast_protocol.kinds.pods.podspec import Container
from holdfast_protocol.kinds.pods.reading import KINDS, workload
from holdfast_protocol.kinds.pods.workload import Workload
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, Resource

_UNITS: Final[dict[str, Callable[[dict[str, Any], str], Any]]] = {
    "SystemdService": systemd_service.wanted,
    "SystemdTimer": systemd_timer.wanted,
    "SystemdSocket": systemd_socket.wanted,
    "SystemdMount": systemd_mount.wanted,
}

_Held = Mapping[ResourceKey, Resource]


class Restart(msgspec.Struct, frozen=True):
    """What starts again: a resource, or a unit that somebody else ships; `why` are the parts that differ."""

    what: str
    why: tuple[str, ...]


def restarts(before: Content, after: Content) -> list[Restart]:
    """Return what of `before` starts again when it becomes `after`, in order."""
    old = {each.key: each for each in before.resources}
    new = {each.key: each for each in after.resources}
    found: dict[str, list[str]] = {}
    for key in sorted({*old, *new}):
        for what, why in _restarts(key, old, new):
            found.setdefault(what, []).append(why)
    return [Restart(what, tuple(why)) for what, why in found.items()]


def images(before: Content, after: Content) -> list[str]:
    """Return the images that `after` names and `before` does not."""
    return sorted(_images(after) - _images(before))


def _images(content: Content) -> set[str]:
    return {image for each in content.resources for _, image in images_of(each.body)}


def _restarts(key: ResourceKey, old: _Held, new: _Held) -> Iterator[tuple[str, str]]:
    one, other = old.get(key), new.get(key)
    kind = (other or old[key]).kind
    if kind == "SystemdDropIn":
        yield from _by_drop_ins(key, one, other)
    elif one is None or other is None:
        return
    elif kind in _UNITS:
        if one.digest != other.digest:
            yield from ((key, why) for why in _unit_parts(one, other))
    elif kind in KINDS:
        yield from ((key, why) for why in _pod_parts(one, other, old, new))


def _by_drop_ins(key: ResourceKey, one: Resource | None, other: Resource | None) -> Iterator[tuple[str, str]]:
    try:
        was = systemd_drop_in.wanted(one.spec, one.name) if one else None
        now = systemd_drop_in.wanted(other.spec, other.name) if other else None
    except WireError:
        return
    for each, beside in ((was, now), (now, was)):
        if each is not None and each.restart and (beside is None or beside.unit != each.unit):
            yield each.unit, f"{key} {'comes' if each is now else 'goes'}"
    if was is not None and now is not None and was.unit == now.unit and now.restart and was.digest != now.digest:
        yield now.unit, f"{key} changes"


def _unit_parts(one: Resource, other: Resource) -> Iterator[str]:
    read = _UNITS[other.kind]
    try:
        was, now = read(one.spec, one.name), read(other.spec, other.name)
    except WireError:
        yield "spec"
        return
    if was.name != now.name:
        yield "name"
    files = {each.path: each.digest for each in was.files}, {each.path: each.digest for each in now.files}
    for path in sorted({*files[0], *files[1]}):
        if files[0].get(path) != files[1].get(path) and was.name == now.name:
            yield path


def _pod_parts(one: Resource, other: Resource, old: _Held, new: _Held) -> Iterator[str]:
    try:
        was, now = workload(one), workload(other)
        then = {row[:3]: row[3] for row in _referred(was, old)}
        here = {row[:3]: row[3] for row in _referred(now, new)}
    except PermanentError:
        if one.digest != other.digest:
            yield "spec"
        return
    yield from _differing(_lasting(was), _lasting(now))
    changed = {
        f"{kind}/{name}"
        for kind, name, key in then.keys() & here.keys()
        if then[kind, name, key] != here[kind, name, key]
    }
    yield from sorted(changed)


def _referred(of: Workload, held: _Held) -> list[tuple[str, str, str, dict[str, str]]]:
    found, _ = sources(of.pod, of.namespace, held, of.where)
    return referred(of.pod, found)


def _lasting(of: Workload) -> dict[str, Any]:
    """Return what replaces the Pods when it changes, by the words people know it by."""
    pod = msgspec.to_builtins(of.pod)
    parts: dict[str, Any] = {"labels": of.labels}
    if of.kind != "Pod":
        parts["annotations"] = of.annotations
    parts |= {key: pod[key] for key in pod if key not in ("containers", "initContainers", "imagePullSecrets")}
    for container in (*of.pod.init_containers, *of.pod.containers):
        parts[f"container {container.name}"] = msgspec.to_builtins(_without_care(container))
    return parts


def _without_care(container: Container) -> Container:
    return msgspec.structs.replace(
        container, liveness_probe=None, readiness_probe=None, startup_probe=None, image_pull_policy=None
    )


def _differing(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*now, *was)):
        before, after = was.get(key), now.get(key)
        if before == after:
            continue
        if key.startswith("container ") and isinstance(before, dict) and isinstance(after, dict):
            fields = sorted(field for field in {*before, *after} if before.get(field) != after.get(field))
            yield f"{key}: {', '.join(fields)}"
        else:
            yield key
