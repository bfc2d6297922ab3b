"""Every command a page shows is made of words its program knows."""

import argparse
import re

import click
import pytest

from holdfast_edge.cli.main import command_line
from holdfast_hub.cli.main import cli
from support.shown_commands import ELSEWHERE, ROOT, Shown, commands_shown

SHOWN = sorted(set(commands_shown()))


def words(text: str) -> list[str]:
    """Return what comes after the program's name, without quoted texts, what is left to choose, and the shell's."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", text.removesuffix("&").partition("||")[0])
    return re.sub(r"[\[\]]|\.\.\.|…", "", bare).replace("|", " ").split()[1:]


@pytest.mark.parametrize("shown", [each for each in SHOWN if each.text.startswith("holdfast ")], ids=str)
def test_what_is_shown_of_the_hub_s_command_is_known(shown: Shown) -> None:
    command: click.Command = cli
    known = {word for each in cli.params for word in each.opts}
    rest = words(shown.text)
    while rest:
        word = rest.pop(0)
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(click.Context(command), word)
            if found is None and command.name == "explain":
                continue  # explain PATH
            assert found is not None, f"{shown.place}: {word} is no command of {command.name}"
            command = found
            known |= {option for each in command.params for option in each.opts}
        elif word.startswith("-") and command.name != "db":
            assert word in known or word in ("--help", "-h"), f"{shown.place}: {word} is no option of {command.name}"


@pytest.mark.parametrize("shown", [each for each in SHOWN if each.text.startswith("holdfast-edge")], ids=str)
def test_what_is_shown_of_the_agent_s_command_is_known(shown: Shown) -> None:
    parser = command_line()
    (verbs,) = (each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    verb, *rest = words(shown.text) or [""]
    if verb in ("", "--version", "--help"):
        return
    assert verb in verbs, f"{shown.place}: {verb} is no verb"
    known = set(verbs[verb]._option_string_actions)
    assert not [word for word in rest if word.startswith("-") and word not in known] or verb == "db", shown.place


def test_what_is_run_elsewhere_is_shown_and_its_test_is_there() -> None:
    assert not set(ELSEWHERE) - {shown.text for shown in SHOWN}
    assert not [path for path in ELSEWHERE.values() if not (ROOT / path).exists()]
