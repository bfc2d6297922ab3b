"""Placed objects: documents of Holdfast's own kinds that go to the sites their placement selects, without a blueprint.

One table says of each kind what a spec may say and what it adds to the targets of its sites. `spec.placement` is read as
an instance's; without it an object is meant for every site.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import retention, sink
from holdfast_hub.blueprint.overlay import overlay_flaws
from holdfast_hub.core.placement import Placement, read_placement
from holdfast_protocol.blueprint import names, policy
from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.blueprint.problems import Checked, Problems
from holdfast_protocol.kinds import bridge, hub_bridge
from holdfast_protocol.kinds.misfits import misfits
from holdfast_protocol.wire import drift, overrides, reboots, windows
from holdfast_protocol.wire.flaws import Flaw
from holdfast_protocol.wire.labels import is_dns_subdomain
from holdfast_protocol.wire.target import POLICIES

EVERYWHERE: Final = Placement(label_selector=())
PLACEMENT: Final = "placement"

Named = tuple[str, dict[str, Any]]  # an object's name, and its spec without placement


class Placed(msgspec.Struct, frozen=True):
    """A checked object; `spec` has no placement any more."""

    kind: str
    name: str
    spec: dict[str, Any]
    placement: Placement
    document: Document

    @property
    def owner(self) -> str:
        return f"{self.kind}/{self.name}"


class PlacedKind(msgspec.Struct, frozen=True):
    """What a kind of placed objects means.

    `flaws` returns everything wrong with a spec. `content` returns the fields of a target's Content that the objects of
    one site come to, in order of their names, none when they say nothing; `feature` is then what a node must understand.
    """

    flaws: Callable[[dict[str, Any]], Iterable[Flaw]]
    content: Callable[[Sequence[Named]], dict[str, Any]]
    feature: str = ""


def _nothing(_: Sequence[Named]) -> dict[str, Any]:
    """The hub itself does what such objects say; a site sees the outcome."""
    return {}


def _policies(objects: Sequence[Named]) -> dict[str, Any]:
    return {"policies": tuple(policy.entry(name, spec) for name, spec in objects)}


def _window_flaws(spec: dict[str, Any]) -> Iterable[Flaw]:
    return misfits(spec, windows.Spec) or windows.flaws(spec)


def _windows(objects: Sequence[Named]) -> dict[str, Any]:
    return {"windows": tuple(windows.carry(name, spec) for name, spec in objects)}


def _decisions(objects: Sequence[Named]) -> dict[str, Any]:
    return {"overrides": tuple(overrides.carry(spec) for _, spec in objects)}


def _reboot_policies(objects: Sequence[Named]) -> dict[str, Any]:
    return {"reboot_policies": tuple(reboots.carry_policy(name, spec) for name, spec in objects)}


def _reboot_requests(objects: Sequence[Named]) -> dict[str, Any]:
    return {"reboot_requests": tuple(reboots.carry_request(name, spec) for name, spec in objects)}


def _drift(objects: Sequence[Named]) -> dict[str, Any]:
    return {"drift": tuple(drift.carry(name, spec) for name, spec in objects)}


KINDS: Final[Mapping[str, PlacedKind]] = {
    drift.KIND: PlacedKind(drift.flaws, _drift, drift.FEATURE),
    windows.KIND: PlacedKind(_window_flaws, _windows, windows.FEATURE),
    bridge.KIND: PlacedKind(hub_bridge.flaws, _nothing),
    "Overlay": PlacedKind(overlay_flaws, _nothing),
    retention.KIND: PlacedKind(retention.flaws, _nothing),
    overrides.KIND: PlacedKind(overrides.flaws, _decisions, overrides.FEATURE),
    reboots.POLICY: PlacedKind(reboots.policy_flaws, _reboot_policies, reboots.FEATURE),
    reboots.REQUEST: PlacedKind(reboots.request_flaws, _reboot_requests, reboots.FEATURE),
    sink.KIND: PlacedKind(sink.flaws, _nothing),
    "Policy": PlacedKind(policy.flaws, _policies, POLICIES),
}


def is_placed(document: Document) -> bool:
    """Return whether a document is an object of a kind of this table."""
    if document.kind == bridge.KIND and not hub_bridge.is_hubs(document.value):
        return False
    return document.kind in KINDS and names.is_ours(document.api_version)


def check_placed(document: Document) -> Checked[Placed]:
    """Return a document as a placed object. Raises InputError with every problem."""
    problems = Problems(document)
    _check_frame(document, problems)
    spec = document.value.get("spec", {})
    if not isinstance(spec, dict):
        problems.add(("spec",), "spec must be a map")
        spec = {}
    values = {key: each for key, each in spec.items() if key != PLACEMENT}
    placement = EVERYWHERE
    if PLACEMENT in spec:
        found: list[Flaw] = []
        placement = read_placement(spec[PLACEMENT], found) or EVERYWHERE
        _add(problems, found, ("spec", PLACEMENT))
    _add(problems, KINDS[document.kind].flaws(values), ("spec",))
    problems.check()
    return Checked(Placed(document.kind, document.name, values, placement, document), tuple(problems.warnings))


def _check_frame(document: Document, problems: Problems) -> None:
    for key in document.value:
        if key not in ("apiVersion", "kind", "metadata", "spec"):
            problems.add(
                (key,), f"unknown field {key[:80]!r}", hint="known: apiVersion, kind, metadata, spec", at_key=True
            )
    metadata = document.value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not is_dns_subdomain(name):
        text = "metadata.name must be a name: lower-case letters, digits, inner hyphens and dots, at most 253"
        problems.add(("metadata", "name"), text)
    for key in metadata if isinstance(metadata, dict) else ():
        if key not in ("name", "labels", "annotations"):
            hint = "known: name, labels, annotations"
            problems.add(("metadata", key), f"unknown field {key[:80]!r}", hint=hint, at_key=True)


def _add(problems: Problems, found: Iterable[Flaw], path: tuple[str | int, ...]) -> None:
    for each in found:
        if each.warning:
            problems.warn((*path, *each.path), each.message, hint=each.hint)
        else:
            problems.add((*path, *each.path), each.message, hint=each.hint, offset=each.offset)


def contents(objects: Iterable[tuple[str, str, dict[str, Any]]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of Content that a site's objects (kind, name, spec) come to, and the features they need."""
    by_kind: dict[str, list[Named]] = {}
    for kind, name, spec in sorted(objects, key=lambda each: each[:2]):
        by_kind.setdefault(kind, []).append((name, spec))
    fields: dict[str, Any] = {}
    features: list[str] = []
    for kind, found in by_kind.items():
        added = KINDS[kind].content(found)
        fields |= added
        if added and KINDS[kind].feature:
            features.append(KINDS[kind].feature)
    return fields, tuple(dict.fromkeys(features))
