"""Order: what must be as wanted before what.

Edges come from `depends_on` and from mentions: whatever names a ConfigMap or Secret of the same target in the places
Kubernetes has for it (env, envFrom, volumes, pull secrets, a File's contentFrom) comes after it,
and a unit after what its restartOn names.
"""

import graphlib
from collections.abc import Iterable, Iterator, Mapping
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
        after = set(resource.depends_on)
        if resource.kind in _MENTIONING:
            after.update(mention for mention in mentions(resource.body) if mention in every)
        if resource.kind == "SystemdService" and isinstance(named := resource.spec.get("restartOn"), list):
            after.update(ResourceKey(each) for each in named if isinstance(each, str) and each in every)
        found[key] = tuple(sorted(after - {key}))
    return found


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
