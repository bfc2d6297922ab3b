"""What pages show in blocks: documents of kinds are accepted, and tables of edge.toml are read."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_edge import settings
from holdfast_edge.core import profiles
from holdfast_protocol.kinds.table import KINDS, check
from support.builders import HUB
from support.shown_commands import ROOT, pages

LEAST = f"""
fleet = "acme"
site = "press-01"
state_dir = "state"
key_file = "node.key"
hub.host = "hub.example"
trust.keys = [{{public = "{base64.b64encode(HUB.public).decode()}"}}]
"""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Give each block of a language with its page and number."""
    for page in pages():
        found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        yield from ((f"{page.name}-{number}", text) for number, text in enumerate(found, 1))


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for place, text in blocks("yaml"):
        for document in yaml.safe_load_all(text):
            if (
                document.get("kind") in KINDS and document["spec"].get("run") != "hub"
            ):  # those are placed: test_bridge_cli
                yield place, document


@pytest.mark.parametrize(
    ("place", "document"), list(documents()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_document_of_a_kind_is_accepted(place: str, document: dict[str, Any]) -> None:
    assert check({"apiVersion": KINDS[document["kind"]].api_version} | document) == ()


@pytest.mark.parametrize("text", [text for _, text in blocks("toml")], ids=[place for place, _ in blocks("toml")])
def test_a_table_of_settings_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(LEAST + text)
    assert settings.read(tmp_path / "edge.toml").site == "press-01"


def test_the_agent_s_unit_is_the_one_it_prints() -> None:
    shown = re.findall(
        r"^```\n(\[Unit\]\n.*?)^```", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (text,) = (text for text in shown if "holdfast-edge run" in text)
    printed = profiles.unit(
        "/opt/holdfast/bin/holdfast-edge", "/etc/holdfast/edge.toml", profiles.TABLE["standard"].budgets
    )
    assert not set(text.splitlines()) - set(printed.splitlines())
    assert {line.partition("=")[0] for line in set(printed.splitlines()) - set(text.splitlines())} == {
        "MemoryAccounting",
        "MemoryHigh",
        "MemoryMax",
        "OOMPolicy",
    }


def test_every_block_says_its_language_where_it_can_be_checked() -> None:
    for page in pages():
        for opening, text in re.findall(r"^```(.*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            looks = (
                "yaml" if re.search(r"^kind: ", text, re.MULTILINE) else "toml" if text.startswith("[[") else opening
            )
            assert opening == looks, f"{page.name}: {text[:60]}"
