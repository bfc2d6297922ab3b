"""Order: what must be as wanted before what.

Edges come from `depends_on` and from mentions: whatever names a ConfigMap or Secret of the same target in the places
Kubernetes has for it (env, envFrom, volumes, pull secrets, a File's contentFrom) comes after it,
and a unit after what its restartOn names.
"""

import graphlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.names import ResourceKey, resource_key
from holdfast_protocol.wire.target import Resource

_MENTIONS: Final = {  # the field that refers: (kind, fields that may hold the name)
    "configMap": ("ConfigMap", ("name",)),
    "configMapRef": ("ConfigMap", ("name",)),
    "configMapKeyRef": ("ConfigMap", ("name",)),
    "secret": ("Secret", ("secretName", "name")),
    "secretRef": ("Secret", ("name",)),
    "secretKeyRef": ("Secret", ("name",)),
}
_MENTIONING: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Pod", "Job", "CronJob", "File"})

Dependencies = Mapping[ResourceKey, tuple[ResourceKey, ...]]


def dependencies(resources: Iterable[Resource]) -> dict[ResourceKey, tuple[ResourceKey, ...]]:
    """Return, for each resource, the sorted keys it comes after. Named in `depends_on` and absent: kept, so it waits."""
    every = {resource.key: resource for resource in resources}
    found = {}
    for key, resource in every.items():
        named = {other for other in _names(resource) if other in every}
        found[key] = tuple(sorted({*resource.depends_on, *named} - {key}))
    return found


def after(resource: Resource) -> frozenset[ResourceKey]:
    """Return the keys a resource comes after where they are there."""
    return frozenset({*resource.depends_on, *_names(resource)} - {resource.key})


def circle(key: ResourceKey, graph: Mapping[ResourceKey, Collection[ResourceKey]]) -> tuple[ResourceKey, ...]:
    """Return a way from a key over what it comes after back to it, () when there is none. What is absent leads nowhere."""
    came: dict[ResourceKey, ResourceKey] = {}
    left = [key]
    while left:
        at = left.pop()
        for other in graph.get(at, ()):
            if other == key:
                way = [key, at]
                while way[-1] != key:
                    way.append(came[way[-1]])
                return tuple(reversed(way))
            if other not in came:
                came[other] = at
                left.append(other)
    return ()


def _names(resource: Resource) -> Iterator[ResourceKey]:
    if resource.kind in _MENTIONING:
        yield from mentions(resource.body)
    if resource.kind == "SystemdService" and isinstance(named := resource.spec.get("restartOn"), list):
        yield from (ResourceKey(each) for each in named if isinstance(each, str))


def mentions(body: dict[str, Any]) -> frozenset[ResourceKey]:
    """Return the keys of the ConfigMaps and Secrets a body names, in its own namespace."""
    namespace = body["metadata"].get("namespace")
    return frozenset(
        resource_key({"kind": kind, "metadata": {"name": name, "namespace": namespace}})
        for kind, name in _named(body.get("spec"))
    )


def _named(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field in _MENTIONS and isinstance(inner, dict):
                kind, names = _MENTIONS[field]
                yield from ((kind, inner[name]) for name in names if isinstance(inner.get(name), str))
            elif field == "imagePullSecrets" and isinstance(inner, list):
                named = (item.get("name") for item in inner if isinstance(item, dict))
                yield from (("Secret", name) for name in named if isinstance(name, str))
            yield from _named(inner)


def sequence(graph: Dependencies) -> tuple[ResourceKey, ...]:
    """Return every key after those it depends on; raises WireError `DependencyCycle` naming the circle."""
    sorter = graphlib.TopologicalSorter({key: graph[key] for key in sorted(graph)})
    try:
        return tuple(sorter.static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise WireError(f"resources depend on each other: {circle[:500]}", reason="DependencyCycle") from None
