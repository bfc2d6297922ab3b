"""Overlays: which resources a patch is meant for, in which order patches go, and what no patch may do."""

from typing import Any

import pytest

from holdfast_hub.blueprint.overlay import Overlay, overlaid, overlay_flaws
from holdfast_protocol.wire.digest import digest
from holdfast_protocol.wire.target import Resource, resource


def file(name: str, owner: str = "Line/press", **metadata: str) -> Resource:
    body = {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "File",
        "metadata": {"name": name, **metadata},
        "spec": {"path": f"/etc/{name}", "content": "x"},
    }
    return resource(body, id=name.replace("-", ""), instance=owner, blueprint="line", revision=1)


HELD = {
    "Line/press": (file("one"), file("two")),
    "Line/saw": (file("three", "Line/saw", namespace="plant"),),
}


def overlay(*patches: Any, name: str = "o", order: int = 0) -> Overlay:
    spec = {"order": order, "patches": list(patches)}
    assert list(overlay_flaws(spec)) == []
    return Overlay(name, spec)


def put(content: str, **target: str) -> dict[str, Any]:
    return {"target": target, "patch": {"spec": {"content": content}}}


def contents(*overlays: Overlay) -> dict[str, str]:
    result, faults = overlaid(HELD, overlays)
    assert not [each for each in faults if each.resource]
    return {each.name: each.spec["content"] for held in result.values() for each in held}


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ({"kind": "File"}, {"one", "two", "three"}),
        ({"kind": "File", "name": "one"}, {"one"}),
        ({"name": "t*"}, {"two", "three"}),
        ({"namespace": "plant"}, {"three"}),
        ({"namespace": "default"}, {"one", "two"}),
        ({"instance": "Line/saw"}, {"three"}),
        ({"instance": "press"}, {"one", "two"}),
        ({"id": "two"}, {"two"}),
        ({"kind": "Fil"}, set()),
        ({"name": "."}, set()),
    ],
)
def test_a_patch_goes_to_what_its_target_names(target: dict[str, str], changed: set[str]) -> None:
    assert {name for name, text in contents(overlay(put("new", **target))).items() if text == "new"} == changed


def test_a_merge_patch_may_name_its_target_by_itself() -> None:
    patch = {"patch": {"kind": "File", "metadata": {"name": "one"}, "spec": {"content": "new"}}}
    assert contents(overlay(patch)) == {"one": "new", "two": "x", "three": "x"}


def test_order_comes_before_name_and_later_patches_win() -> None:
    specific, general = (
        overlay(put("specific", name="one"), name="a", order=10),
        overlay(put("general", kind="File"), name="b"),
    )
    assert contents(specific, general) == {"one": "specific", "two": "general", "three": "general"}
    same = (
        overlay(put("first", name="one"), put("second", name="one"), name="a"),
        overlay(put("third", name="one"), name="b"),
    )
    assert contents(*reversed(same))["one"] == "third"


def test_what_is_not_meant_is_the_very_same_resource() -> None:
    result, _ = overlaid(HELD, [overlay(put("new", name="one"))])
    assert result["Line/press"][1] is HELD["Line/press"][1]
    changed = result["Line/press"][0]
    assert changed.digest == digest(changed.body) != HELD["Line/press"][0].digest
    assert (changed.key, changed.instance, changed.revision) == ("File/one", "Line/press", 1)
    assert HELD["Line/press"][0].spec["content"] == "x"


def test_a_patch_that_finds_nothing_is_said_and_stops_nothing() -> None:
    result, faults = overlaid(HELD, [overlay(put("new", name="nobody"), put("new", name="one"))])
    assert [(each.overlay, each.patch, each.resource) for each in faults] == [("o", 0, "")]
    assert result["Line/press"][0].spec["content"] == "new"


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"metadata": {"name": "other"}}, "may not change metadata.name"),
        ({"metadata": {"namespace": "other"}}, "may not change metadata.namespace"),
        ({"kind": "Directory"}, "may not change kind"),
        ([{"op": "replace", "path": "/apiVersion", "value": "v2"}], "may not change apiVersion"),
        ([{"op": "remove", "path": "/metadata"}], "may not change metadata.name"),
        ([{"op": "test", "path": "/spec/content", "value": "y"}], "operation 0"),
        ({"spec": {"contents": "y"}}, "spec.contents"),
        ({"spec": {"path": None}}, "refused"),
        ([{"op": "replace", "path": "/spec", "value": []}], ""),
        ({"spec": {"content": "x" * 2_000_000}}, "larger than"),
    ],
)
def test_an_outcome_no_site_would_take_is_a_fault_of_its_patch(patch: Any, words: str) -> None:
    _, faults = overlaid(HELD, [overlay({"target": {"name": "one"}, "patch": patch})])
    (fault,) = faults
    assert fault.resource == "File/one of Line/press"
    assert words in fault.message


def test_only_the_outcome_of_all_patches_must_be_right() -> None:
    half = {"target": {"name": "one"}, "patch": {"spec": {"path": None}}}
    whole = {"target": {"name": "one"}, "patch": {"spec": {"path": "/etc/other"}}}
    result, faults = overlaid(HELD, [overlay(half, whole)])
    assert faults == []
    assert result["Line/press"][0].spec["path"] == "/etc/other"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, ("patches",)),
        ({"patches": []}, ("patches",)),
        ({"patches": ["x"]}, ("patches", 0)),
        ({"patches": [put("x", kind="File")], "order": "1"}, ("order",)),
        ({"patches": [put("x", kind="File")], "orders": 1}, ("orders",)),
        ({"patches": [{"patch": {"spec": {}}}]}, ("patches", 0)),
        ({"patches": [{"target": {}, "patch": {"spec": {}}}]}, ("patches", 0, "target")),
        ({"patches": [put("x", kinds="File")]}, ("patches", 0, "target", "kinds")),
        ({"patches": [{"target": {"kind": 1}, "patch": {"spec": {}}}]}, ("patches", 0, "target", "kind")),
        ({"patches": [{"target": {"kind": "File"}}]}, ("patches", 0, "patch")),
        ({"patches": [{"target": {"kind": "File"}, "patch": "spec: {}"}]}, ("patches", 0, "patch")),
        ({"patches": [{"target": {"kind": "File"}, "patch": {"$x": 1}}]}, ("patches", 0, "patch", "$x")),
        ({"patches": [{"target": {"kind": "File"}, "patch": [{"op": "x"}]}]}, ("patches", 0, "patch", 0)),
    ],
)
def test_every_mistake_has_its_place(spec: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert [each.path for each in overlay_flaws(spec)] == [path]
