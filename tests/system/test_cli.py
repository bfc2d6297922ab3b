"""The holdfast command as people and scripts use it, against a real hub, broker and agent."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mosquitto
from support.fleet import BIN, Agent, Hub, ended
from support.waiting import HANGS_S, until

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples/hello"
SEED = Path(__file__).resolve().parents[1] / "data/seed"
VERBS = [
    "apply",
    "diff",
    "get",
    "describe",
    "delete",
    "render",
    "wait",
    "site",
    "blueprint",
    "readings",
    "doctor",
    "up",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that has its own broker."""
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        yield program
        assert program.stop() == 0
        assert not program.socket.exists()


@pytest.fixture(scope="module")
def agent(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    program = Agent(hub, tmp_path_factory.mktemp("site") / "press-01", "press-01")
    with ended(program):
        program.start()
        yield program


def instance(folder: Path, name: str = "hello-west", greeting: str = "hello", zone: str = "west") -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: {name}\nspec:\n"
        f"  path: {folder}/motd\n  greeting: {greeting}\n"
        f"  placement:\n    labelSelector:\n      matchLabels:\n        zone: {zone}\n"
    )


@pytest.fixture
def applied(hub: Hub, agent: Agent) -> None:
    """The example is applied and has converged, at a site labelled as it was added, whatever a test has left."""
    hub.api.patch("/v1/sites/press-01", {"labels": {"zone": "west"}})
    done = hub.call("apply", "-f", EXAMPLES / "blueprint.yaml")
    assert done.status == 0, done.err
    done = hub.call("apply", "-f", "-", "--wait", "--timeout", "60", given=instance(agent.root))
    assert done.status == 0, done.err
    assert (agent.root / "motd").read_text() == "hello, site\n"


def test_apply_wait_get_and_describe_tell_how_a_site_has_converged(hub: Hub, agent: Agent, applied: None) -> None:
    assert hub.call("wait", "site/press-01", "--timeout", "60").status == 0
    listed = hub.call("get", "sites")
    assert "press-01" in listed.out
    assert "Converged" in listed.out
    assert hub.call("get", "sites", "-o", "name").out == "site/press-01\n"
    shown = hub.call("describe", "site", "press-01").out
    for words in ("File/motd", "AsWanted", "zone=west", "Hello/hello-west"):
        assert words in shown
    found = hub.call("get", "instance", "hello-west", "-o", "json").json
    assert (found["sites"], found["converged"], found["state"]) == (1, 1, "Converged")


def test_diff_exits_zero_for_the_same_one_for_a_difference_and_two_for_a_mistake(
    hub: Hub, agent: Agent, applied: None
) -> None:
    assert hub.call("diff", "-f", "-", given=instance(agent.root)).status == 0
    different = hub.call("diff", "-f", "-", given=instance(agent.root, greeting="good morning"))
    assert different.status == 1
    assert "+" in different.out
    assert "good morning" in different.out
    assert (agent.root / "motd").read_text() == "hello, site\n", "a diff changes nothing"
    assert hub.call("diff", "-f", "-", given="kind: [").status == 2


def test_every_mistake_of_a_file_is_told_at_once_with_its_place(hub: Hub, applied: None, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: bad\nspec:\n  path: 5\n  greting: x\n  path: 6\n"
    )
    done = hub.call("apply", "-f", file)
    assert done.status == 2
    assert f"{file}:8:3" in done.err
    assert "duplicate" in done.err
    file.write_text(
        "apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: bad\nspec:\n  path: 5\n  greeting: [x]\n"
    )
    done = hub.call("apply", "-f", file)
    assert f"{file}:6:9" in done.err
    assert f"{file}:7:13" in done.err
    assert "nothing was changed" in done.err
    assert hub.call("get", "instance", "bad").status == 3
    problems = json.loads(hub.call("apply", "-f", file, "-o", "json").err)["error"]["problems"]
    assert {(problem["line"], problem["column"]) for problem in problems} == {(6, 9), (7, 13)}


def test_one_bad_document_keeps_the_good_ones_out(hub: Hub, applied: None, agent: Agent) -> None:
    both = instance(agent.root, "good", zone="nowhere") + "---\n" + instance(agent.root, "Bad Name")
    assert hub.call("apply", "-f", "-", given=both).status == 2
    assert hub.call("get", "instance", "good").status == 3


def test_two_instances_claiming_one_file_are_refused_with_both_named(hub: Hub, agent: Agent, applied: None) -> None:
    done = hub.call("apply", "-f", "-", given=instance(agent.root, "hello-too"))
    assert done.status == 2
    assert "hello-too" in done.err
    assert "hello-west" in done.err


def test_dry_run_changes_nothing(hub: Hub, agent: Agent, applied: None) -> None:
    done = hub.call(
        "apply",
        "--dry-run",
        "-f",
        "-",
        given=instance(agent.root, greeting="dry"),
    )
    assert done.status == 0
    assert "dry run" in done.out
    assert hub.call("diff", "-f", "-", given=instance(agent.root)).status == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("get", "sites"), 0),
        (("get", "site", "nowhere"), 3),
        (("get", "nonsense"), 2),
        (("aply",), 2),
        (("apply", "-f", "/no/such/file"), 2),
        (("describe", "instance", "nothing"), 3),
        (("delete", "blueprint", "hello", "--yes"), 4),
        (("site", "add", "press-01"), 4),
        (("site", "add", "Press_01"), 2),
        (("site", "adopt", "press-01", "--yes"), 4),
        (("delete", "site", "press-01"), 2),
        (("wait", "site/press-01", "--for", "Conflict", "--timeout", "0.3"), 7),
        (("ledger", "nowhere"), 3),
        (("explain", "placement", "hello-west", "press-01"), 0),
        (("explain", "placement", "hello-west", "nowhere"), 3),
        (("get", "instances", "-l", "zone=west"), 2),
        (("get", "nodes", "--field-selector", "name=press-01"), 0),
    ],
)
def test_exit_codes_are_those_of_the_documents(hub: Hub, applied: None, words: tuple[str, ...], status: int) -> None:
    done = hub.call(*words)
    assert done.status == status, done.err
    if status:
        assert done.err.strip()


def test_an_unreachable_hub_and_a_forbidden_one_have_codes_of_their_own(hub: Hub, tmp_path: Path) -> None:
    nobody = subprocess.run(
        [BIN / "holdfast", "--socket", tmp_path / "none.sock", "get", "sites"], capture_output=True, text=True
    )
    assert nobody.returncode == 6
    assert "holdfast up" in nobody.stderr
    if os.geteuid() == 0:
        hub.socket.parent.chmod(0o755)
        code = (
            "import os; from holdfast_hub.cli import objects; from holdfast_hub.cli.main import main;"
            "os.setgid(65534); os.setuid(65534);"
            f"main(['--socket', {str(hub.socket)!r}, 'get', 'sites'])"
        )
        forbidden = subprocess.run([BIN / "python", "-c", code], capture_output=True, text=True)
        assert forbidden.returncode == 5, forbidden.stderr


def test_a_breaking_change_needs_force(hub: Hub, applied: None) -> None:
    text = (EXAMPLES / "blueprint.yaml").read_text()
    changed = text.replace("spec:\n      path:", "spec:\n      more: integer | required=true\n      path:", 1)
    assert changed != text
    done = hub.call("apply", "-f", "-", "--dry-run", given=changed)
    assert done.status == 2
    assert "breaking change of hello revision 1: the field is new, required and has no default" in done.err
    forced = hub.call("apply", "-f", "-", "--dry-run", "--force", given=changed)
    assert (forced.status, "breaking change" in forced.err) == (2, False)
    assert "spec.more: is required" in forced.err, "the stored instance does not fit it"


def test_labels_move_placement(hub: Hub, agent: Agent, applied: None) -> None:
    assert hub.call("site", "label", "press-01", "zone=east").status == 0
    until(lambda: not (agent.root / "motd").exists(), HANGS_S, "the file to go")
    told = hub.call("explain", "placement", "hello-west", "press-01")
    assert told.status == 1
    assert told.out.split("\n")[1].split() == ["no", "label", "zone=west", "east"]
    assert "does not belong on press-01" in told.err
    assert hub.call("site", "label", "press-01", "zone=west").status == 0
    until((agent.root / "motd").exists, HANGS_S, "the file to come back")
    listed = hub.call("get", "sites", "-l", "zone in (west)", "-o", "name").out
    assert listed == "site/press-01\n"
    assert hub.call("get", "sites", "-l", "zone=east", "-o", "json").json == {"items": []}


def test_render_prints_manifests_and_eject_writes_plain_files(hub: Hub, applied: None, tmp_path: Path) -> None:
    rendered = hub.call("render", "--instance", "hello-west").out
    assert "kind: File" in rendered
    ejected = hub.call("blueprint", "eject", "--output-dir", tmp_path / "plan", "-o", "json")
    assert ejected.status == 0, ejected.err
    assert (tmp_path / "plan/hello-west/otel-config.yaml").exists()
    assert hub.call("blueprint", "eject", "--output-dir", tmp_path / "plan").status == 2, "not into a full folder"


def test_the_document_s_example_works_as_printed_with_and_without_a_hub(hub: Hub, tmp_path: Path) -> None:
    files = [SEED / "quality-system.yaml", SEED / "west-europe.yaml"]
    done = hub.call("apply", "-f", files[0], "-f", files[1])
    assert done.status == 0, done.err
    assert "west-europe.yaml:5:10: warning: spec.image" in done.err
    printed = {"deployment.yaml", "otel-config.yaml", "camera-driver.unit"}
    wanted = printed | {"cloud.yaml", "docker-compose.yaml", "install.sh", "README.md"}
    with_hub = hub.call("blueprint", "eject", "--blueprint", files[0], "--output-dir", tmp_path / "exit-plan")
    assert with_hub.status == 0, with_hub.err
    assert {path.name for path in (tmp_path / "exit-plan/west-europe").iterdir()} == wanted
    words = ["blueprint", "eject", "--blueprint", files[0], "--blueprint", files[1], "--output-dir", tmp_path / "alone"]
    alone = subprocess.run([BIN / "holdfast", "--socket", tmp_path / "none", *words], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    checked = subprocess.run(["sh", "-n", tmp_path / "alone/west-europe/install.sh"], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    for name in wanted:
        found = (tmp_path / "alone/west-europe" / name).read_text()
        assert found == (tmp_path / "exit-plan/west-europe" / name).read_text()
    assert hub.call("delete", "instance", "west-europe", "--yes").status == 0


def test_the_document_s_placement_finds_the_site_labelled_with_its_zone(hub: Hub, agent: Agent, applied: None) -> None:
    files = ["-f", SEED / "quality-system.yaml", "-f", SEED / "west-europe.yaml"]
    assert hub.call("site", "label", "press-01", "zone=west-europe").status == 0
    assert hub.call("apply", *files).status == 0
    wanted = {"Deployment/west-europe", "PubSubTopic/west-europe-topic", "SystemdService/west-europe-driver"}

    def reported() -> dict[str, tuple[str, str]] | None:
        rows = {row["key"]: (row["type"], row["message"]) for row in hub.site("press-01")["resources"]}
        return (
            rows if {rows[key][0] for key in wanted if key in rows} == {"Unsupported"} and wanted <= set(rows) else None
        )

    shown = until(reported, HANGS_S, "the reports of a lighter site that has no engine and no systemd")
    assert "PubSubTopic" in shown["PubSubTopic/west-europe-topic"][1]
    assert hub.call("delete", "instance", "west-europe", "--yes").status == 0
    assert hub.call("site", "label", "press-01", "zone=west").status == 0


def test_doctor_finds_nothing_wrong_here_and_says_what_is_wrong_elsewhere(hub: Hub, applied: None) -> None:
    well = hub.call("doctor", "-o", "json")
    assert well.status == 0, well.out
    subjects = {finding["subject"] for finding in well.json["findings"]}
    assert {"hub", "broker", "sqlite", "targets"} <= subjects


def test_a_database_can_be_looked_into_beside_the_hub(hub: Hub, applied: None, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(hub.data / "hub.db", copy)
    shutil.copy(hub.data / "hub.db-wal", tmp_path / "copy.db-wal")
    done = hub.call("db", "tables", copy)
    assert done.status == 0, done.err
    assert {"sites", "blueprints", "instances", "targets"} <= {row["table"] for row in done.json}


@pytest.mark.invariant("one-writer-per-database")
def test_a_second_hub_or_agent_on_the_same_folder_is_refused(hub: Hub, agent: Agent, tmp_path: Path) -> None:
    words = ["up", "--data-dir", hub.data, "--fleet", "acme", "--broker-listen", f"127.0.0.1:{mosquitto.free_port()}"]
    second = subprocess.run(
        [BIN / "holdfast", "--socket", tmp_path / "s.sock", *words], capture_output=True, text=True, timeout=HANGS_S
    )
    assert second.returncode == 4
    assert "another hub works in" in second.stderr
    other = agent.call("run")
    assert other.status != 0
    assert "another agent uses" in other.err
    assert hub.call("get", "sites").status == 0
    assert agent.call("status").status in (0, 1)


def test_deleting_an_instance_takes_away_what_it_made(hub: Hub, agent: Agent, applied: None) -> None:
    done = hub.call("delete", "instance", "hello-west", "--yes")
    assert done.status == 0
    assert done.out == "Hello/hello-west deleted, 1 site touched\n"
    until(lambda: not (agent.root / "motd").exists(), HANGS_S, "the file to go")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(hub: Hub, shell: str) -> None:
    assert "holdfast" in hub.call("completion", shell).out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps(hub: Hub, verb: str) -> None:
    done = hub.call(verb, "--help")
    assert done.status == 0
    assert "Usage" in done.out


def test_colours_are_for_people_who_want_them(hub: Hub, applied: None) -> None:
    words = [BIN / "holdfast", "--socket", hub.socket, "get", "sites"]
    plain = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "1"}
    )
    assert "\x1b" not in plain.stdout
    coloured = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "FORCE_COLOR": "1", "NO_COLOR": ""}
    )
    assert "\x1b" in coloured.stdout
