"""The documents say what the code does."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from holdfast_edge.cli import exits as edge_exits
from holdfast_edge.cli.main import command_line
from holdfast_hub.api import export
from holdfast_hub.blueprint.written import DOCUMENTS
from holdfast_hub.cli import exits
from holdfast_hub.cli.main import cli
from holdfast_hub.cli.objects import TYPES
from holdfast_hub.core.convergence import State
from holdfast_hub.sinks import postgresql
from holdfast_hub.store import feed
from holdfast_protocol.wire.messages import ConditionType
from support import published
from support.published import commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted(published.documents()), ids=lambda path: path.name)
def test_generated_documents_are_up_to_date(path: Path) -> None:
    assert path.read_text() == published.documents()[path], "run: PYTHONPATH=tests python -m support.published"


@pytest.mark.parametrize("words", sorted(commands(cli)), ids=" ".join)
def test_every_command_is_helped_and_documented(words: tuple[str, ...]) -> None:
    command = commands(cli)[words]
    assert command.help
    assert f"`holdfast {' '.join(words)}" in (ROOT / "docs/cli.md").read_text()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{words}: {parameter.name} has no help"


def test_every_verb_of_the_agent_is_helped_and_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    (verbs,) = (each for each in command_line()._actions if isinstance(each, argparse._SubParsersAction))
    for name, parser in verbs.choices.items():
        assert f"`holdfast-edge {name}" in text, name
        assert all(action.help for action in parser._actions), name


@pytest.mark.parametrize("words", sorted(commands(cli)), ids=" ".join)
def test_every_command_with_an_answer_gives_it_as_json(words: tuple[str, ...]) -> None:
    if words in {("up",), ("db",), ("completion",)}:  # a process, another program's words, a script
        return
    choices = [parameter.type.choices for parameter in commands(cli)[words].params if parameter.name == "form"]
    assert choices, "no -o"
    assert "json" in choices[0]


@pytest.mark.parametrize("kind", sorted(set(DOCUMENTS) - {"Blueprint"}))
def test_every_field_of_a_placed_object_is_on_a_page(kind: str) -> None:
    texts = [(ROOT / f"docs/{name}.md").read_text() for name in ("blueprints", "bridges", "device-data", "operations")]
    fields = properties(json.loads((ROOT / f"docs/schemas/{kind}.json").read_text()))
    assert [name for name in sorted(fields) if not re.search(rf"\b{re.escape(name)}\b", "\n".join(texts))] == []


def properties(schema: Any) -> set[str]:
    """Return the names of all properties within a JSON Schema."""
    if isinstance(schema, list):
        return set().union(*map(properties, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*(properties(value) for value in schema.values()))


def test_every_type_that_get_lists_is_named_there() -> None:
    (row,) = (
        line for line in (ROOT / "docs/cli.md").read_text().splitlines() if line.startswith("| `holdfast get TYPE")
    )
    for name in TYPES.split(", "):
        assert re.search(rf"\b{name}\b", row), name


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    listed = re.findall(r"^\| ([0-9]+) \| (.*) \|$", text, re.MULTILINE)
    assert listed == [(str(code), meaning) for code, meaning in exits.MEANINGS.items()]
    numbers = {name: value for name, value in vars(edge_exits).items() if name.isupper() and isinstance(value, int)}
    assert numbers == {name: value for name, value in vars(exits).items() if name in numbers}, "one number, one meaning"


def test_every_annotation_and_label_is_in_the_glossary() -> None:
    sources = (path for member in ("protocol", "hub", "edge") for path in (ROOT / member / "src").rglob("*.py"))
    ours = {word for path in sources for word in re.findall(r'"(holdfast\.io/[a-z-]{3,})"', path.read_text())}
    listed = set(re.findall(r"`(holdfast\.io/[a-z-]+)`", (ROOT / "docs/glossary.md").read_text()))
    assert listed - ours == {f"holdfast.io/not-now-{part}" for part in ("at-most", "then")}  # made of a prefix
    assert ours <= listed


def test_every_script_the_readme_names_is_there_and_short() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"scripts/([a-z]+)", text))
    assert {"demo", "test", "setup"} <= named
    for path in (ROOT / "scripts").iterdir():
        if path.is_file():
            assert len(path.read_text().splitlines()) <= 60, path
    assert named <= {path.name for path in (ROOT / "scripts").iterdir()}


def test_the_glossary_names_every_condition_and_state() -> None:
    text = (ROOT / "docs/glossary.md").read_text()
    conditions, states = text.partition("Conditions of a resource:")[2].partition("\n\n")[0].split("States of a site:")
    assert set(re.findall(r"`(\w+)`", conditions)) == set(get_args(ConditionType))
    assert set(re.findall(r"`(\w+)`", states)) == set(get_args(State))


def test_the_columns_of_exports_and_tables_are_those_of_the_code() -> None:
    text = (ROOT / "docs/device-data.md").read_text().partition("| | columns |")[2].partition("\n\n")[0]
    readings, spans, table = (re.findall(r"`(\w+)`", line.split(" | ", 1)[1]) for line in text.strip().splitlines()[1:])
    assert readings == list(export.COLUMNS)
    assert spans == list(export.SPANS)
    assert table == re.findall(r"(\w+) (?:text|bigint|timestamptz|double precision)\b", postgresql._CREATE)


def test_every_event_of_the_hub_is_named() -> None:
    (names,) = re.findall(r"`event` \(([a-z, ]+)\)", (ROOT / "docs/api.md").read_text())
    assert set(names.split(", ")) == set(get_args(feed.Kind))


def test_every_room_of_the_architecture_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = re.findall(r"`((?:protocol|hub|edge)/…/[\w/.]+)`", text)
    assert len(rooms) > 20
    members = {name: f"{name}/src/holdfast_{name}" for name in ("protocol", "hub", "edge")}
    wrong = [
        each for each in rooms if not (ROOT / each.replace(f"{(m := each.partition('/')[0])}/…", members[m])).exists()
    ]
    assert wrong == []


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "broker-config").glob("*.md")]
    assert not [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]


def test_a_link_into_a_page_leads_to_one_of_its_headings() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "broker-config").glob("*.md")]
    assert not [
        f"{page.relative_to(ROOT)}: {file}#{anchor}"
        for page in pages
        for file, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text())
        if anchor not in headings(page.parent / file if file else page)
    ]


def headings(page: Path) -> set[str]:
    """Return the anchors a page's headings get."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        links = {(page.parent / link).resolve() for link in re.findall(r"\]\(([\w./-]+\.md)", page.read_text())}
        left += [each for each in links if each not in reached and each.exists()]
    assert set((ROOT / "docs").glob("*.md")) - reached == set()


def test_the_edge_command_helps() -> None:
    command = Path(sys.executable).with_name("holdfast-edge")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for verb in ("run", "status", "plan", "hold"):
        assert verb in done.stdout


@pytest.mark.parametrize("name", ["build", "check", "conformance", "setup", "test"])
def test_a_script_that_is_asked_for_help_does_nothing_else(name: str) -> None:
    done = subprocess.run([str(ROOT / "scripts" / name), "--help"], check=True, capture_output=True, text=True)
    assert 0 < len(done.stdout.splitlines()) <= 2
    text = (ROOT / "scripts" / name).read_text().splitlines()
    assert all(f"# {line}" in text for line in done.stdout.splitlines())
    assert not (ROOT / "--help").exists()
