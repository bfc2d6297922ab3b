"""Every kind's spec is judged whole: all that is wrong at once, each thing with its path, and never with a surprise."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_protocol.kinds.table import KINDS, check
from holdfast_protocol.wire.flaws import Path

TEXT = st.text(max_size=12) | st.sampled_from(
    ["/srv/a", "0644", "a.service", "[Service]\nExecStart=/a\n", "10.0.0.0/8", "tcp"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=8,
)


def body(kind: str, spec: Any, **more: Any) -> dict[str, Any]:
    version = KINDS[kind].api_version if kind in KINDS else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec, **more}


def found(kind: str, spec: Any) -> list[tuple[Path, str]]:
    return [(each.path, each.message) for each in check(body(kind, spec))]


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    assert found("File", {"pth": "/a", "content": 1, "mode": 644}) == [
        (("spec", "pth"), "unknown field 'pth'"),
        (("spec", "content"), "must be text, not a whole number"),
        (("spec", "mode"), "must be text, not a whole number"),
        (("spec",), "path is missing"),
    ]
    assert [each.hint for each in check(body("File", {"pth": "/a", "mode": 644}))][:2] == [
        "did you mean path?",
        'in quotes it is text: "644"',
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "path", "message"),
    [
        ("File", {"path": "a", "content": ""}, ("spec", "path"), "is not absolute"),
        ("File", {"path": "/a"}, ("spec",), "exactly one of content"),
        ("File", {"path": "/a", "content": "", "mode": "7777"}, ("spec", "mode"), "set-user-id"),
        ("File", {"path": "/a", "content": "", "owner": "a b"}, ("spec", "owner"), "is not a name"),
        ("File", [], ("spec",), "must be a map, not a list"),
        ("Directory", {"path": "/a", "mode": "0777"}, ("spec", "mode"), "sticky"),
        ("Directory", {"path": "/a/../b"}, ("spec", "path"), "'..' part"),
        ("SystemdService", {"unit": "[Service]\nType=simple\n"}, ("spec", "unit"), "no ExecStart"),
        (
            "SystemdService",
            {"name": "ssh", "unit": "[Service]\nExecStart=/a\n"},
            ("spec", "name"),
            "the machine itself",
        ),
        ("Sysctl", {"settings": {"a.b": "1\n2"}}, ("spec", "settings"), "one line"),
        ("KernelModule", {"parameters": {"a": "b c"}}, ("spec", "parameters", "a"), "can be written"),
        ("Firewall", {"rules": [{}, {"protocol": "tpc"}]}, ("spec", "rules", 1, "protocol"), "is none of"),
        ("Firewall", {"rules": [{"ports": [0], "protocol": "tcp"}]}, ("spec", "rules", 0, "ports"), "no port"),
        ("Firewall", {"ruleset": "chain input { } }"}, ("spec", "ruleset"), ""),
        (
            "Deployment",
            {"template": {"spec": {"containers": []}}},
            ("spec", "template", "spec", "containers"),
            "1 to 16",
        ),
        (
            "Deployment",
            {"template": {"spec": {"hostNetwrk": True}}},
            ("spec", "template", "spec", "hostNetwrk"),
            "unknown",
        ),
        ("Deployment", {}, ("spec",), "template is missing"),
    ],
)
def test_what_a_site_would_refuse_is_found_with_its_path(kind: str, spec: Any, path: Path, message: str) -> None:
    assert any(at == path and message in said for at, said in found(kind, spec)), found(kind, spec)


def test_a_line_of_a_unit_is_found_in_its_text() -> None:
    unit = "[Unit]\nDescription=x\n[Servce]\nExecStart=/a\n"
    (flaw,) = check(body("SystemdService", {"unit": unit}))
    assert (flaw.path, unit[flaw.offset :].split("\n")[0]) == (("spec", "unit"), "[Servce]")


def test_kubernetes_nulls_count_as_absent_and_ours_do_not() -> None:
    pod = {"containers": [{"name": "a", "image": "a", "command": None, "resources": {"limits": None}}], "volumes": None}
    assert found("Pod", pod) == []
    assert found("KernelModule", {"parameters": None}) == [(("spec", "parameters"), "must be a map, not nothing")]


def test_an_image_no_registry_could_serve_is_a_warning() -> None:
    (flaw,) = check(body("Pod", {"containers": [{"name": "a", "image": "Upper"}]}))
    assert flaw.warning


def test_what_only_a_site_knows_is_not_asked() -> None:
    privileged = {"name": "a", "image": "a", "securityContext": {"privileged": True}}
    assert found("Pod", {"containers": [privileged], "volumes": [{"name": "h", "hostPath": {"path": "/etc"}}]}) == []
    assert found("File", {"path": "/any/where", "content": ""}) == []


def test_beside_the_spec_nothing_unknown_stands_and_a_status_does() -> None:
    spec = {"path": "/a"}
    assert check(body("Directory", spec, status={"x": 1})) == ()
    assert [each.path for each in check(body("Directory", spec, specs=1))] == [("specs",)]


def test_a_kind_nobody_knows_is_nobody_s_to_judge() -> None:
    assert check(body("PubSubTopic", {"anything": 1})) == ()


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_spec_is_judged_with_paths_that_lead_somewhere(kind: str, data: st.DataObject) -> None:
    shape = KINDS[kind].shape
    names = [each for each in (getattr(shape, "__struct_encode_fields__", ())) if each not in ("metadata", "kind")]
    spec = data.draw(VALUES | st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    whole = KINDS[kind].whole and isinstance(spec, dict)
    document = {**body(kind, {}), **spec} if whole else body(kind, spec)
    if whole:
        document |= {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}
    for flaw in check(document):
        at: Any = document
        for step in flaw.path[:-1]:
            at = at[step]
        assert flaw.message
