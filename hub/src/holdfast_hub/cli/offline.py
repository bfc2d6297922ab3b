"""Ejecting with no hub: the blueprints and instances are those in the given files."""

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast_hub.blueprint.instance import check_instance
from holdfast_hub.blueprint.placed import is_placed
from holdfast_hub.cli import exits
from holdfast_hub.cli.exits import CliError
from holdfast_hub.operations.ejection import Gathering
from holdfast_hub.operations.intake import SourceFile, documents_of
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.names import is_blueprint
from holdfast_protocol.errors import InputError, Problem


def eject_files(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer the API gives. Raises CliError with every problem."""
    warnings: list[Problem] = []
    given = [SourceFile(file["name"], file["text"]) for file in files]
    documents, problems = documents_of(given, (), None)
    documents = [each for each in documents if not is_placed(each)]  # what they do is done at a hub
    definitions: dict[str, Definition] = {}
    for document in documents:
        if is_blueprint(document.kind):
            try:
                checked = check_blueprint(document)
            except InputError as error:
                problems += error.problems
            else:
                definitions[checked.value.kind] = checked.value
                warnings += checked.warnings
    gathering = Gathering()
    for document in documents:
        if is_blueprint(document.kind):
            continue
        definition = definitions.get(document.kind)
        if definition is None:
            problems.append(document.problem(("kind",), f"no blueprint in the files defines kind {document.kind}"))
            continue
        try:
            instance = check_instance(definition, document)
            gathering.add(definition, instance.value)
        except InputError as error:
            problems += error.problems
        else:
            warnings += instance.warnings
    if problems:
        plain = tuple(msgspec.to_builtins(problem) for problem in problems)
        raise CliError("the files cannot be ejected", exits.USAGE, reason="InvalidInput", problems=plain)
    gathering.warn(warnings)
    answer: dict[str, Any] = msgspec.to_builtins(gathering.ejected)
    return answer
