"""docs/resources.md: every kind the agent has, every field of the machine's own kinds, and examples that are accepted."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from holdfast_edge.providers.offers import equip
from holdfast_hub.blueprint.json_schema import structs_of
from holdfast_protocol.kinds.table import KINDS, check
from holdfast_protocol.kinds.way import Way
from support.builders import SITE

TEXT = (Path(__file__).resolve().parents[2] / "docs/resources.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
OURS = sorted(name for name, kind in KINDS.items() if not kind.kubernetes)


def test_every_kind_has_its_section(tmp_path: Path) -> None:
    chosen = equip(
        file_roots=("/srv",),
        engine="",
        host_paths=(),
        privileged=False,
        systemd="",
        kernel=True,
        network=True,
        machine=True,
        hub=Way("127.0.0.1", 1883),
        site=SITE,
        state=tmp_path,
        denied=(),
        environ={},
    )
    kinds = chosen.kinds
    assert kinds == {kind for title in SECTIONS for kind in title.split(", ")}
    assert kinds == KINDS.keys(), "the table of kinds and the providers are of the same kinds"


@pytest.mark.parametrize("kind", OURS)
def test_every_field_is_named(kind: str) -> None:
    section = next(text for title, text in SECTIONS.items() if kind in title.split(", "))
    for shape in structs_of([KINDS[kind].shape]):
        for field in msgspec.structs.fields(shape):
            assert re.search(rf"\b{field.encode_name}\b", section), f"{kind}: {field.encode_name}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["metadata"]["name"]))
def test_every_example_is_accepted(example: dict[str, Any]) -> None:
    assert check({"apiVersion": KINDS[example["kind"]].api_version} | example) == ()


def test_every_kind_of_the_machine_has_an_example() -> None:
    assert {example["kind"] for example in EXAMPLES} >= set(OURS)
