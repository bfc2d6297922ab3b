"""The documents say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from holdfast_hub.cli import exits
from holdfast_hub.cli.main import cli
from support import published

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted(published.documents()), ids=lambda path: path.name)
def test_generated_documents_are_up_to_date(path: Path) -> None:
    assert path.read_text() == published.documents()[path], "run: PYTHONPATH=tests python -m support.published"


def commands(group: click.Group, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= commands(command, (*words, name))
        else:
            found[(*words, name)] = command
    return found


@pytest.mark.parametrize("words", sorted(commands(cli)), ids=" ".join)
def test_every_command_is_helped_and_documented(words: tuple[str, ...]) -> None:
    command = commands(cli)[words]
    assert command.help
    assert f"`holdfast {' '.join(words)}" in (ROOT / "docs/cli.md").read_text()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{words}: {parameter.name} has no help"


@pytest.mark.parametrize("words", sorted(commands(cli)), ids=" ".join)
def test_every_command_with_an_answer_gives_it_as_json(words: tuple[str, ...]) -> None:
    if words in {("up",), ("db",), ("completion",)}:  # a process, another program's words, a script
        return
    choices = [parameter.type.choices for parameter in commands(cli)[words].params if parameter.name == "form"]
    assert choices, "no -o"
    assert "json" in choices[0]


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    for code, meaning in exits.MEANINGS.items():
        assert f"| {code} | {meaning} |" in text


def test_every_script_the_readme_names_is_there_and_short() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"scripts/([a-z]+)", text))
    assert {"demo", "test", "setup"} <= named
    for path in (ROOT / "scripts").iterdir():
        if path.is_file():
            assert len(path.read_text().splitlines()) <= 60, path
    assert named <= {path.name for path in (ROOT / "scripts").iterdir()}


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "broker-config").glob("*.md")]
    assert not [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]


def test_the_edge_command_helps() -> None:
    command = Path(sys.executable).with_name("holdfast-edge")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for verb in ("run", "status", "plan", "hold"):
        assert verb in done.stdout


@pytest.mark.parametrize("name", ["build", "check", "conformance"])
def test_a_script_that_is_asked_for_help_does_nothing_else(name: str) -> None:
    done = subprocess.run([str(ROOT / "scripts" / name), "--help"], check=True, capture_output=True, text=True)
    assert 0 < len(done.stdout.splitlines()) <= 2
    assert not (ROOT / "--help").exists()
