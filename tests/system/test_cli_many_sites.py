"""The holdfast command over many sites at once, and what it says when nothing, or too much, is meant."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mosquitto
from support.fleet import Hub, ended

SITES = [f"shop-{number}" for number in range(1, 8)]
BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: note}
spec:
  schema: {apiVersion: v1alpha1, kind: Note, spec: {text: string}}
  resources:
    - id: note
      template: {apiVersion: v1, kind: ConfigMap, metadata: {name: note}, data: {text: "${schema.spec.text}"}}
"""
INSTANCE = """\
apiVersion: v1alpha1
kind: Note
metadata: {name: lost}
spec:
  text: hello
  placement: {labelSelector: {matchLabels: {zone: wset}}}
"""
SINK = """\
apiVersion: holdfast.io/v1alpha1
kind: Sink
metadata: {name: lake}
spec:
  webhook: {url: "http://127.0.0.1:9/readings"}
  placement: {labelSelector: {matchLabels: {zone: nowhere}}}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a blueprint and seven sites that no agent has joined."""
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        for site in SITES:
            program.api.post("/v1/sites", {"name": site, "labels": {"zone": "west"}})
        program.api.post("/v1/apply", {"files": [{"name": "blueprint.yaml", "text": BLUEPRINT}]})
        yield program
        assert program.stop() == 0


def test_a_wait_for_many_names_a_few_and_counts_the_others(hub: Hub) -> None:
    done = hub.call("wait", "sites", "--timeout", "1s")
    assert done.status == 7
    assert "not Converged after 1 s: shop-1, shop-2, shop-3, shop-4, shop-5 and 2 more are NeverSeen" in done.err


def test_times_are_written_alike_wherever_one_is_asked_for(hub: Hub) -> None:
    assert hub.call("hold", "shop-1", "--for", "1h30m", "--reason", "stocktaking").status == 0
    assert hub.call("release", "shop-1").status == 0
    for words in (("wait", "site/shop-1", "--timeout"), ("hold", "shop-1", "--reason", "x", "--for")):
        done = hub.call(*words, "soon")
        assert done.status == 2
        assert "'soon' is no length of time\n  try: 90s, 30m, 1h30m, 2d" in done.err


def test_what_is_asked_of_several_sites_is_done_where_it_can_be_and_the_others_are_named(hub: Hub) -> None:
    hub.api.post("/v1/apply", {"files": [{"name": "a", "text": INSTANCE.replace("wset", "west")}]})
    done = hub.call("retry", "shop-1", "nosuch", "shop-2", "-o", "name")
    assert (done.status, done.out) == (8, "site/shop-1\nsite/shop-2\n")
    assert "no site 'nosuch'" in done.err
    done = hub.call("site", "adopt", "shop-1", "nosuch", "--yes")
    assert (done.status, done.out) == (4, "")
    assert "shop-1" in done.err
    assert "no site 'nosuch'" in done.err
    assert hub.call("site", "adopt", "nosuch", "--yes").status == 3


def test_an_instance_that_no_site_gets_is_said_to_be_so(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "note.yaml"
    file.write_text(BLUEPRINT + "---\n" + INSTANCE.replace("lost", "nowhere"))
    for words in (("--dry-run",), ()):
        done = hub.call("apply", "-f", file, *words)
        assert done.status == 0
        assert "note: no site is in the placement of Note/nowhere" in done.err
    file.write_text(BLUEPRINT + "---\n" + INSTANCE.replace("lost", "nowhere").replace("hello", "good morning"))
    assert hub.call("apply", "-f", file, "-o", "json").json["unplaced"] == ["Note/nowhere"]


def test_a_sink_that_has_sent_nothing_is_described_without_a_moment_of_it(hub: Hub) -> None:
    assert hub.call("apply", "-f", "-", given=SINK).status == 0
    described = hub.call("describe", "sink", "lake")
    assert described.status == 0
    lines = dict(line.split(":", 1) for line in described.out.split("\n\n")[0].splitlines())
    assert lines["Readings Sent"].strip() == "0"
    assert lines["Sent At"].strip() == "-"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("readings", "--from", "2h", "--to", "3h"), "--from 2h is not before --to 3h"),
        (("export", "--from", "2h", "--to", "3h"), "--from 2h is not before --to 3h"),
        (("export", "--out", "/nonexistent/readings.csv"), "--out /nonexistent/readings.csv: no such folder"),
        (("get", "device", "shop-1"), "'shop-1' is not SITE/DEVICE"),
    ],
)
def test_a_question_that_can_have_no_answer_is_refused(hub: Hub, words: tuple[str, ...], said: str) -> None:
    done = hub.call(*words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("verb", ["get", "describe"])
def test_the_help_of_a_verb_over_objects_names_their_types(hub: Hub, verb: str) -> None:
    shown = " ".join(hub.call(verb, "--help").out.split())
    for word in ("blueprints", "sites", "maintenancewindows", "retentions"):
        assert word in shown


def test_a_kit_is_not_written_over_another_unless_that_is_said(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    assert hub.call("site", "kit", "shop-1", folder).status == 0
    (folder / "edge.toml").write_text("# changed by hand")
    key = (folder / "node.key").read_text()
    for words in (("kit", "shop-2", folder), ("add", "shop-8", "--kit", folder)):
        done = hub.call("site", *words)
        assert done.status == 4
        assert f"{folder}/edge.toml is there already" in done.err
    assert (folder / "edge.toml").read_text() == "# changed by hand"
    assert (folder / "node.key").read_text() == key
    assert hub.call("get", "site", "shop-8").status == 3, "a site whose kit cannot be written is not added"
    assert hub.call("site", "kit", "shop-1", folder, "--force").status == 0
    assert (folder / "node.key").read_text() != key


def test_a_folder_that_cannot_be_written_costs_no_node_its_key(hub: Hub, tmp_path: Path) -> None:
    before = hub.call("get", "site", "shop-3", "-o", "json").json["history"]
    (tmp_path / "file").write_text("")
    assert hub.call("site", "kit", "shop-3", tmp_path / "file").status == 2
    assert hub.call("get", "site", "shop-3", "-o", "json").json["history"] == before


def test_what_only_a_kit_can_say_is_not_ignored_where_none_is_written(hub: Hub) -> None:
    done = hub.call("site", "add", "shop-9", "--engine", "unix:///run/docker.sock", "--file-root", "/srv")
    assert done.status == 2
    assert "--engine, --file-root: said of a kit, and none is to be written" in done.err
    assert hub.call("get", "site", "shop-9").status == 3
    assert hub.call("site", "add", "shop-10", "--node", "press", "--region", "eu").status == 0


def test_problems_are_told_in_the_order_of_the_lines(hub: Hub) -> None:
    wrong = (
        INSTANCE.replace("text:", "txt:").replace("name: lost", "name: Lost_one").replace("matchLabels", "matchLabel")
    )
    done = hub.call("apply", "-f", "-", given=wrong)
    assert done.status == 2
    lines = [int(line.split(":")[1]) for line in done.err.splitlines() if line.startswith("<stdin>:")]
    assert lines == [3, 5, 6]


def test_everything_a_device_shall_be_is_described_as_a_table() -> None:
    from click.testing import CliRunner

    from holdfast_hub.cli.describe import describe

    class Device:
        """A hub that knows one device."""

        def get(self, path: str) -> object:
            wanted = {"property": "setpoint", "desired": 21.5, "reported": None, "reported_at": None, "settled": False}
            return {"name": "shop-1/oven", "twin": {"version": 2, "properties": [wanted]}, "commands": []}

    done = CliRunner().invoke(describe, ["device", "shop-1/oven"], obj=Device())
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-4:] == [
        "Twin:",
        "  version=2",
        "PROPERTY  DESIRED  SETTLED",
        "setpoint  21.5     no",
    ]
