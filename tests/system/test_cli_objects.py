"""Policies, overlays, plain manifests and pins as people use them: the holdfast command against a real hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_hub.blueprint.placed import KINDS
from support import mosquitto
from support.fleet import Hub, ended

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: note}
spec:
  schema: {apiVersion: v1alpha1, kind: Note, spec: {text: string}}
  resources:
    - id: note
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {name: "${schema.metadata.name}"}
        spec: {path: "/srv/notes/${schema.metadata.name}", content: "${schema.spec.text}"}
"""
INSTANCE = """\
apiVersion: v1alpha1
kind: Note
metadata: {name: hello}
spec:
  text: hello
  placement: {labelSelector: {}}
"""
POLICY = """\
apiVersion: holdfast.io/v1alpha1
kind: Policy
metadata: {name: paths}
spec:
  match: {kinds: [File]}
  rules:
    - expression: object.spec.path.startsWith("/srv/notes/")
      message: files are below /srv/notes
"""
OVERLAY = """\
apiVersion: holdfast.io/v1alpha1
kind: Overlay
metadata: {name: east}
spec:
  placement: {labelSelector: {matchLabels: {zone: east}}}
  patches:
    - target: {kind: File, name: hello}
      patch: {spec: {content: hello east}}
"""
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example/web:1"}]}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with two sites, a blueprint and an instance on both."""
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        for site, zone in (("press-01", "west"), ("press-02", "east")):
            assert program.call("site", "add", site, "--label", f"zone={zone}").status == 0
        assert program.call("apply", "-f", "-", given=f"{BLUEPRINT}---\n{INSTANCE}").status == 0
        yield program
        assert program.stop() == 0


def test_a_policy_is_applied_got_described_kept_and_deleted(hub: Hub) -> None:
    tried = hub.call("apply", "-f", "-", "--dry-run", given=POLICY)
    assert "policy/paths created (dry run)" in tried.out
    assert hub.call("get", "policies", "-o", "name").out == ""
    done = hub.call("apply", "-f", "-", given=POLICY)
    assert (done.status, done.out) == (0, "policy/paths created\n")
    assert hub.call("get", "policies", "-o", "name").out == "policy/paths\n"
    assert hub.call("get", "policy", "paths").out.split()[:3] == ["NAME", "SITES", "CHANGED"]
    described = hub.call("describe", "policy/paths").out
    for words in ("Policy", "press-01", "press-02", "startsWith"):
        assert words in described
    refused = hub.call("apply", "-f", "-", given=BLUEPRINT.replace("/srv/notes", "/etc"))
    assert refused.status == 2
    for words in ("Policy/paths", "Note/hello", "File/hello", "files are below /srv/notes", "nothing was changed"):
        assert words in refused.err
    assert hub.call("explain", "placement", "Policy/paths", "press-01").status == 0
    assert hub.call("delete", "policy", "paths", "--yes").out == "Policy/paths deleted, 2 sites touched\n"
    assert hub.call("get", "policy", "paths").status == 3


def test_a_mistake_in_an_expression_is_told_with_line_and_column(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("object.spec", "objekt.spec"))
    done = hub.call("apply", "-f", file)
    assert done.status == 2
    assert f"{file}:7:19" in done.err
    assert "unknown name 'objekt'" in done.err


def test_an_overlay_is_shown_as_a_difference_of_its_sites_and_applied_there(hub: Hub) -> None:
    shown = hub.call("diff", "-f", "-", given=OVERLAY)
    assert shown.status == 1
    assert "1 site: press-02" in shown.out
    assert "+  content: hello east" in shown.out
    assert hub.call("apply", "-f", "-", given=OVERLAY).status == 0
    assert hub.call("diff", "-f", "-", given=OVERLAY).status == 0
    assert hub.call("get", "overlays", "-o", "json").json["items"][0]["sites"] == 1
    lost = hub.call("apply", "-f", "-", given=OVERLAY.replace("name: hello", "name: nobody"))
    assert lost.status == 0
    assert "warning:" in lost.err
    assert "spec.patches[0]: it finds nothing to change" in lost.err
    assert hub.call("delete", "overlay", "east", "--yes").status == 0


def test_plain_manifests_need_a_placement_and_then_go_all_the_way(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(MANIFEST)
    lost = hub.call("apply", "-f", file)
    assert lost.status == 2
    assert "--selector zone=west" in lost.err
    done = hub.call("apply", "-f", file, "--selector", "zone=west")
    assert done.status == 0, done.err
    assert "webmanifests/web created" in done.out
    assert hub.call("render", "--instance", "web", "-o", "name").out == "Deployment/web\n"
    file.write_text(MANIFEST.replace("web:1", "web:2"))
    told = hub.call("diff", "-f", file, "-l", "zone=west")
    assert told.status == 1
    assert "restarts Deployment/web: container web: image\n" in told.out
    assert "fetches registry.example/web:2\n" in told.out
    group = hub.call("diff", "-f", file, "-l", "zone=west", "-o", "json").json["groups"][0]
    assert (group["sites"], group["images"]) == (["press-01"], ["registry.example/web:2"])
    assert group["restarts"] == [{"what": "Deployment/web", "why": ["container web: image"]}]
    named = hub.call("apply", "-f", "-", "--name", "other", "--selector", "*", "--dry-run", given=MANIFEST)
    assert named.status == 2
    assert "both OtherManifests/other and WebManifests/web claim Deployment/web" in named.err
    offline = hub.call("blueprint", "eject", "--blueprint", file, "--output-dir", tmp_path / "out", "--offline")
    assert offline.status == 0, offline.err
    assert (tmp_path / "out/web/deploymentWeb.yaml").exists()
    assert hub.call("delete", "instance", "web", "--yes").status == 0
    assert "web" not in hub.call("get", "blueprints", "-o", "name").out


def test_a_pinned_instance_is_listed_with_what_it_keeps_and_the_newest(hub: Hub) -> None:
    pinned = INSTANCE.replace("{name: hello}", '{name: hello, annotations: {holdfast.io/blueprint-revision: "1"}}')
    assert hub.call("apply", "-f", "-", given=pinned).status == 0
    assert hub.call("apply", "-f", "-", given=BLUEPRINT + "# two\n").status == 0
    assert "note@1 (pinned, newest 2)" in hub.call("get", "instances").out
    wrong = hub.call("apply", "-f", "-", given=pinned.replace('"1"', '"7"'))
    assert wrong.status == 2
    assert "has no revision 7" in wrong.err
    assert "the newest is 2" in wrong.err


def test_every_placed_kind_has_a_word_to_ask_for_it_by(hub: Hub) -> None:
    for kind in KINDS:
        assert hub.call("get", kind.lower()).status == 0


def test_all_there_is_is_listed_by_type_and_name(hub: Hub) -> None:
    names = hub.call("get", "all", "-o", "name").out.split()
    assert {"blueprint/note", "instance/hello", "site/press-01", "site/press-02"} <= set(names)
    shown = hub.call("get", "all").out
    for name in names:
        assert name in shown
    items = json.loads(hub.call("get", "all", "-o", "json").out)["items"]
    assert [f"{each['type']}/{each['name']}" for each in items] == names
    assert hub.call("get", "all", "-l", "zone=west").status == 2


def test_a_wide_table_has_what_the_narrow_one_leaves_out(hub: Hub) -> None:
    narrow, wide = (hub.call("get", "sites", "-o", form).out for form in ("table", "wide"))
    assert "REGION" not in narrow
    titles = wide.splitlines()[0]
    for title in (*narrow.splitlines()[0].split("  "), "REGION", "PROVIDER", "TIME ZONE", "WHY"):
        assert title.strip() in titles
    assert hub.call("get", "nodes", "-o", "wide").status == 0
    tables = [hub.call("get", "blueprints", "-o", form).out for form in ("wide", "table")]
    rows = [
        [line.split()[:-1] for line in table.splitlines()] for table in tables
    ]  # the last is the age, which goes on
    assert rows[0] == rows[1]


def test_a_dry_run_of_a_deletion_says_what_would_happen_and_deletes_nothing(hub: Hub) -> None:
    tried = hub.call("delete", "instance", "hello", "--dry-run")
    assert (tried.status, tried.out) == (0, "Note/hello deleted (dry run), 2 sites touched\n")
    assert hub.call("get", "instance", "hello").status == 0
    assert hub.call("delete", "site", "press-01", "--dry-run").status == 0
    assert hub.call("get", "site", "press-01").status == 0
    refused = hub.call("delete", "blueprint", "note", "--dry-run")
    assert refused.status == 4
    assert "Note/hello" in refused.err
    assert hub.call("delete", "instance", "nobody", "--dry-run").status == 3


@pytest.mark.parametrize(
    "words",
    [
        ("get", "devices", "--site", "nowhere"),
        ("readings", "--site", "nowhere"),
        ("readings", "--site", "nowhere", "--every", "1h"),
        ("export", "--site", "nowhere"),
        ("ledger", "nowhere"),
        ("get", "site", "nowhere"),
    ],
    ids=" ".join,
)
def test_a_site_that_is_none_is_not_found(hub: Hub, words: tuple[str, ...]) -> None:
    done = hub.call(*words)
    assert (done.status, done.out) == (3, "")
    assert "no site 'nowhere'" in done.err
