"""Reading YAML: what is written is read back, and nothing a person hands in breaks the reader."""

import json
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast_hub.blueprint import yaml_writer
from holdfast_protocol.blueprint.documents import Document, Path, read_documents
from holdfast_protocol.errors import InputError, Problem

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(TEXT, inside, max_size=4)),
    max_leaves=15,
)


def document_of(text: str) -> Document:
    (document,) = read_documents(text)
    return document


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_what_we_write_is_read_back(value: Any) -> None:
    assert document_of(yaml_writer.write({"apiVersion": "v1", "kind": "A", "x": value})).value["x"] == value


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_json_is_read_as_json(value: Any) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "A", "x": value})
    assert document_of(text).value["x"] == value


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_every_value_has_a_place_inside_the_text(value: Any) -> None:
    text = yaml_writer.write({"apiVersion": "v1", "kind": "A", "x": value})
    document = document_of(text)
    lines = text.split("\n")
    for path in _paths(document.value, ()):
        line, column = document.place(path)
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1


def _paths(value: Any, path: Path) -> list[Path]:
    if isinstance(value, dict):
        inside = [(key, each) for key, each in value.items()]
    else:
        inside = list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(found for key, each in inside for found in _paths(each, (*path, key)))]


@given(st.text(max_size=60))
@example("? [a]\n: b")
@example("*a : b")
@example("--- !x\n...\n%YAML 1.1\n---\n")
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_with_places(text: str) -> None:
    try:
        documents = read_documents(text, "f")
        problems: tuple[Problem, ...] = ()
    except InputError as error:
        documents, problems = [], error.problems
    assert all(each.file == "f" for each in problems)
    for document in documents:
        json.dumps(document.value)


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES, min_size=1))
@settings(max_examples=50, deadline=None)
def test_nothing_is_read_otherwise_than_by_the_usual_reader_when_it_is_plain(value: dict[str, Any]) -> None:
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "A", "x": _plain(value)}, allow_unicode=True)
    assert document_of(text).value["x"] == _plain(value)


def _plain(value: Any) -> Any:
    """Leave out what the two versions of YAML read differently."""
    if isinstance(value, dict):
        return {f"k{key}": _plain(each) for key, each in value.items() if key.isalnum() and key.isascii()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return f"t{value}" if isinstance(value, str) else None if isinstance(value, float) else value
