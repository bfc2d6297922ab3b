"""Rendered resources against their kinds: what a site would refuse is refused here, at the place it was written."""

from typing import Any

import msgspec

from holdfast_hub.blueprint.instance import Instance, value_path
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.documents import Path, path_text
from holdfast_protocol.blueprint.template import Template
from holdfast_protocol.errors import Problem
from holdfast_protocol.kinds import table
from holdfast_protocol.wire.flaws import Flaw


def kind_problems(
    definition: Definition, instance: Instance, template: Template, body: dict[str, Any]
) -> list[Problem]:
    """Return what is wrong with a rendered body of a known kind, but for images, which `images` warns of.

    A value that is one of the instance's as it stands is placed there, anything else in the blueprint's template.
    """
    return [_problem(definition, instance, template, body, flaw) for flaw in table.check(body) if not flaw.warning]


def _problem(
    definition: Definition, instance: Instance, template: Template, body: dict[str, Any], flaw: Flaw
) -> Problem:
    text = f"{flaw.message} (resource {template.id} of {instance.owner})"
    if given := _given(instance, template, flaw.path):
        return instance.document.problem(given, f"{path_text(flaw.path)}: {text}", hint=flaw.hint)
    path = (*template.path, *flaw.path)
    problem = definition.document.problem(path, text, hint=flaw.hint, at_key=flaw.message.startswith("unknown field"))
    written, made = _value(definition.document.value, path), _value(body, flaw.path)
    if flaw.offset < 0 or not isinstance(written, str) or not isinstance(made, str):
        return problem
    lines = written.split("\n")  # values put into such a text add no lines
    before = min(made.count("\n", 0, flaw.offset), len(lines) - 1)
    line, column = definition.document.place_in(path, sum(len(each) + 1 for each in lines[:before]))
    return msgspec.structs.replace(problem, line=line, column=column)


def _given(instance: Instance, template: Template, path: Path) -> Path:
    """Return where the instance says the value at `path`; () where the template does, or makes it of several."""
    field = next((each for each in template.fields if each.path == path[: len(each.path)]), None)
    if field is None or not field.is_whole or not field.expressions:
        return ()
    named = value_path(field.expressions[0].source)
    given = ("spec", *named)
    if not named or _value(instance.document.value, given) is None:
        return ()
    return (*given, *path[len(field.path) :])


def _value(value: Any, path: Path) -> Any:
    """Return what is at `path`, None where nothing is."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
