"""The shapes of the documents people write beside resources, for schemas and `explain`; a test holds them to their readers.

They are not read with these Structs: their readers say every problem at once, each with its place.
"""

from typing import Any, Final, Literal

import msgspec

from holdfast_hub.blueprint import retention, sink
from holdfast_protocol.kinds import bridge
from holdfast_protocol.wire import drift, overrides, reboots, windows

Words = tuple[str, ...]


class LabelExpression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One requirement on a label."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Words = ()  # for In and NotIn


class LabelSelector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Over a site's labels, as in Kubernetes; {} is every site."""

    match_labels: dict[str, str] = {}  # all of them, exactly
    match_expressions: tuple[LabelExpression, ...] = ()


class FieldExpression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One requirement on a field; a field may have several values."""

    key: str  # name, zone, region, provider, arch, os, profile, hardware, or what else a site reports
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Words = ()  # for In and NotIn


class FieldSelector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Over what a site is and reports."""

    match_expressions: tuple[FieldExpression, ...] = ()


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which sites. Both selectors given: both must hold."""

    label_selector: LabelSelector | None = None
    field_selector: FieldSelector | None = None


class ExternalMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which object; `name` and `selector` exclude each other."""

    name: str = ""
    namespace: str = ""
    selector: LabelSelector | None = None  # a list of objects


class ExternalRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An object somebody else made; it is only read."""

    api_version: str
    kind: str
    metadata: ExternalMetadata


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One resource: a template with ${} expressions, or an external reference."""

    id: str  # lower camel case; other resources read it by this name
    template: dict[str, Any] | None = None  # apiVersion, kind, metadata and the rest of a Kubernetes-style object
    external_ref: ExternalRef | None = None  # instead of a template
    include_when: Words = ()  # one ${...} each: all must be true, or the resource is left out
    ready_when: Words = ()  # one ${...} each, over the resource itself (a collection: each): when it counts as ready
    for_each: tuple[dict[str, str], ...] = ()  # [{zone: "${schema.spec.zones}"}]: one resource for each item


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What an instance may say. A field is a type, then markers after |: integer | default=1 minimum=0."""

    api_version: str  # v1alpha1
    kind: str  # of the instances, in upper camel case
    group: str = ""  # holdfast.io unless said
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"
    spec: dict[
        str, Any
    ] = {}  # fields: string, integer, float, boolean, object, []T, map[string]T, a custom type, or a map
    types: dict[str, Any] = {}  # custom types by name
    status: dict[str, Any] = {}  # ${} expressions over resources


class Blueprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A typed definition of one solution: a schema of what instances fill in, and templates of resources."""

    schema: Schema
    resources: tuple[Resource, ...] = ()


class PolicyMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which resources; what is left out is every one."""

    kinds: Words = ()
    namespaces: Words = ()


class PolicyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition that must be true of every matched resource."""

    expression: str  # CEL over object, instance, pod, containers; without ${}
    message: str = ""  # said where it does not hold
    name: str = ""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions on rendered resources, checked at submit and again at the site before it applies."""

    rules: tuple[PolicyRule, ...]
    match: PolicyMatch = PolicyMatch()
    placement: Placement | None = None  # left out: every site


class PatchTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which resources; * stands for any characters."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    instance: str = ""  # Kind/name
    id: str = ""  # in its blueprint


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """One operation of JSON Patch (RFC 6902)."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str
    from_: str = ""  # of move and copy
    value: Any = None


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the resources its target names."""

    patch: dict[str, Any] | tuple[Operation, ...]  # a map is merged strategically, a list is JSON Patch
    target: PatchTarget | None = None  # may be left out of a map that names its kind and metadata.name


class Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patches laid over rendered resources at some sites: first the general, then the specific."""

    patches: tuple[Patch, ...]
    order: int = 0  # overlays go from the smallest to the largest, then by name
    placement: Placement | None = None  # left out: every site


class MaintenanceWindow(windows.Spec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When a site may change. A gate that no window of a site names is always open there."""

    placement: Placement | None = None  # left out: every site


class DriftPolicy(drift.Spec, frozen=True, forbid_unknown_fields=True):
    """Whether what somebody changes at a site is corrected, only reported, or ignored. The most specific word counts."""

    placement: Placement | None = None  # left out: every site


class RebootPolicy(reboots.PolicySpec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When a site restarts its machine by itself. Of several the one that restarts less wins."""

    placement: Placement | None = None  # left out: every site


class RebootRequest(reboots.RequestSpec, frozen=True, forbid_unknown_fields=True):
    """That sites restart their machines once; `holdfast site reboot` writes it."""

    placement: Placement | None = None  # left out: every site


class Retention(retention.Spec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How long the hub keeps readings of some sites, how much of them, and which coarser copies it makes of them."""

    placement: Placement | None = None  # left out: every site


class OverrideDecision(overrides.Spec, frozen=True, forbid_unknown_fields=True):
    """What becomes of a change that a person at a site laid over its target; `holdfast override adopt|drop` writes it."""

    placement: Placement | None = None  # left out: every site


class Sink(sink.Spec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where the hub gives readings of some sites to, besides storing them. Exactly one destination."""

    placement: Placement | None = None  # left out: every site


class Bridge(bridge.Spec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A broker somebody has, and what goes there and comes from there: in a blueprint run by its sites, else by the hub."""

    placement: Placement | None = None  # whose readings go out; left out: every site's


DOCUMENTS: Final[dict[str, type[msgspec.Struct]]] = {
    each.__name__: each
    for each in (
        Blueprint,
        Policy,
        Overlay,
        MaintenanceWindow,
        DriftPolicy,
        OverrideDecision,
        RebootPolicy,
        RebootRequest,
        Retention,
        Sink,
        Bridge,
    )
}
