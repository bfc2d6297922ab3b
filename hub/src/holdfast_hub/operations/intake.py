"""From files to documents: read, and plain manifests made a blueprint with its instance, a file at a time."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from holdfast_hub.blueprint.plain import Words, as_blueprint, is_plain
from holdfast_protocol.blueprint.documents import Document, read_documents
from holdfast_protocol.blueprint.names import is_blueprint
from holdfast_protocol.errors import InputError, Problem

MAX_FILES: Final = 1_000


class SourceFile(msgspec.Struct, frozen=True):
    name: str
    text: str


def documents_of(
    files: Sequence[SourceFile], kinds: Collection[str], words: Words | None
) -> tuple[list[Document], list[Problem]]:
    """Return the documents of some files, and what is wrong with the rest.

    `kinds` are those that stored blueprints define; `words` say of plain manifests what they do not say themselves, None
    where it does not matter which sites they are for.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    if len(files) > MAX_FILES:
        raise InputError([Problem(f"{len(files)} files, the limit is {MAX_FILES} at once")])
    for file in files:
        try:
            documents += read_documents(file.text, file.name)
        except InputError as error:
            problems += error.problems
    if not documents and not problems:
        problems.append(Problem("there is no document in the files given"))
    defined = {*kinds, *(kind for each in documents if (kind := defined_kind(each)))}
    plain: dict[str, list[Document]] = {}
    for document in documents:
        if is_plain(document, defined):
            plain.setdefault(document.file, []).append(document)
    if len(plain) > 1 and words and words.name:
        problems.append(Problem("a name is for the plain manifests of one file", path="name"))
    if not plain and words not in (None, Words()) and not problems:
        problems.append(Problem("a name and selectors are for plain manifests, and there is none in the files given"))
    rest = [each for each in documents if not is_plain(each, defined)]
    for found in plain.values():
        try:
            rest += as_blueprint(found, words)
        except InputError as error:
            problems += error.problems
    return rest, problems


def defined_kind(document: Document) -> str:
    """Return the kind a document defines if it is a blueprint, as far as that can be read; empty for none."""
    spec = document.value.get("spec")
    schema = spec.get("schema") if isinstance(spec, dict) and is_blueprint(document.kind) else None
    kind = schema.get("kind") if isinstance(schema, dict) else None
    return kind if isinstance(kind, str) else ""
