"""docs/settings.md: every key of edge.toml with its default, every variable of the environment, and the profiles' numbers."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from holdfast_edge import settings
from holdfast_edge.core.profiles import TABLE

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = dict(
    re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/settings.md").read_text(), re.MULTILINE | re.DOTALL)
)


def tables(shape: type[msgspec.Struct], inside: str = "") -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Give each table of edge.toml below `shape`, by its heading."""
    for name, hint in get_type_hints(shape).items():
        for each in (hint, *get_args(hint)):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                path = f"{inside}{name}"
                yield f"[[{path}]]" if get_origin(hint) is tuple else f"[{path}]", each
                yield from tables(each, f"{path}.")


TABLES = {"Top": settings.Settings, **dict(tables(settings.Settings))}
MIB = 1024 * 1024


def rows(section: str) -> Iterator[tuple[str, str]]:
    """Give each key of a section's table with the default said of it."""
    for keys, defaults in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", SECTIONS[section], re.MULTILINE):
        names = re.findall(r"`([^`]+)`", keys)
        said = [defaults.strip()] if len(names) == 1 else defaults.strip().split(", ")
        yield from zip(names, said * len(names) if len(said) == 1 else said, strict=True)


def shown(default: Any) -> str:
    """Return a default as TOML writes it."""
    if default is msgspec.NODEFAULT:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"


def defaults(table: str) -> dict[str, str]:
    """Return what docs/settings.md has to say of a table's keys; a key that is a table has a section of its own."""
    profile = {(name, key) for name, keys in TABLE["standard"].settings().items() for key in keys}
    found = {}
    for field in msgspec.structs.fields(TABLES[table]):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if table == "Top" and f"[{field.name}]" in TABLES:
            continue
        said = (table.strip("[]"), field.name) in profile
        found[field.name] = "by profile" if said else shown(default)
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_key_has_its_line_with_its_default(table: str) -> None:
    assert dict(rows(table)) == defaults(table)


def test_every_table_has_its_section() -> None:
    assert set(SECTIONS) == {*TABLES, "The environment"}


@pytest.mark.parametrize("table", TABLES)
def test_a_key_that_is_none_is_refused(table: str) -> None:
    assert TABLES[table].__struct_config__.forbid_unknown_fields


def test_every_variable_of_the_environment_that_is_read_has_its_line() -> None:
    named = {
        name
        for keys in re.findall(r"^\| (`[^|]+`) \|", SECTIONS["The environment"], re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", keys)
    }
    assert {"HOLDFAST_EDGE_SLOTS", *variables()} == named


def variables() -> Iterator[str]:
    """Give the name of every variable that a module asks `environ` for."""
    for member in ("protocol", "hub", "edge"):
        for path in (ROOT / member / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(attr="get", value=ast.Name(id="environ") | ast.Attribute(attr="environ")),
                        args=[ast.Constant(value=str(name)), *_],
                    ):
                        yield name


def test_the_profiles_numbers_are_those_of_the_code() -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("### Profiles")[2].partition("###")[0]
    cells = {row[1]: row[2:] for line in text.splitlines() if line.startswith("|") and (row := _cells(line))[1:2]}
    for number, (name, profile) in enumerate(TABLE.items()):
        for key, value in msgspec.structs.asdict(profile.budgets).items():
            assert cells[f"`budgets.{key}`"][number].replace(",", "") == str(value), f"{name}: {key}"
        assert cells["`timing.look_every_s`"][number] == f"{profile.look_every_s:g}"
        amounts = [profile.quotas[key] // MIB for key in ("p0", "p1", "p2", "p3", "ballast")]
        (quotas,) = (row for key, row in cells.items() if key.startswith("`quotas.p0`"))
        assert quotas[number] == "{}, {}, {}, {}; {}".format(*amounts)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
