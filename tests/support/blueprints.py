"""Blueprints and instances for tests, small and valid, with what a test cares about given as text."""

import textwrap

from holdfast_hub.blueprint.instance import Instance, check_instance
from holdfast_hub.blueprint.render import Rendered, render
from holdfast_protocol.blueprint.definition import Definition, check_blueprint
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.errors import InputError, Problem


def blueprint_text(resources: str, schema: str = "name: string") -> str:
    """Return a Blueprint of kind App with this schema spec and this list of resources."""
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: Blueprint\nmetadata:\n  name: app\nspec:\n  schema:\n"
        "    apiVersion: v1alpha1\n    kind: App\n    spec:\n"
        + textwrap.indent(textwrap.dedent(schema).strip(), "      ")
        + "\n  resources:\n"
        + textwrap.indent(textwrap.dedent(resources).strip(), "    ")
        + "\n"
    )


def a_definition(resources: str, schema: str = "name: string") -> Definition:
    (document,) = read_documents(blueprint_text(resources, schema), "app.yaml")
    return check_blueprint(document).value


def an_instance(definition: Definition, spec: str = "", **metadata: str) -> Instance:
    lines = "".join(f"  {key}: {value}\n" for key, value in {"name": "one", **metadata}.items())
    body = textwrap.indent(textwrap.dedent(spec).strip() or "{}", "  ")
    text = f"apiVersion: v1alpha1\nkind: {definition.kind}\nmetadata:\n{lines}spec:\n{body}\n"
    (document,) = read_documents(text, "one.yaml")
    return check_instance(definition, document).value


def rendered(resources: str, spec: str = "", schema: str = "name: string") -> list[Rendered]:
    definition = a_definition(resources, schema)
    return render(definition, an_instance(definition, spec))


def problems_of(act: object, *arguments: object) -> tuple[Problem, ...]:
    """Return the problems an act raises; none when it raises nothing."""
    assert callable(act)
    try:
        act(*arguments)
    except InputError as error:
        return error.problems
    return ()
