"""explain: why something is as it is, and what may be written."""

import json
from typing import Any

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client


class _Explaining(click.Group):
    """A word that is no command is the path of a field: `explain Firewall.spec.rules`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return "fields", self.commands["fields"], args
        return super().resolve_command(ctx, args)


@click.group(cls=_Explaining)
def explain() -> None:
    """Say why something is as it is, or what may be written: explain blueprint.spec.resources."""


@explain.command()
@click.argument("path")
@click.option("--recursive", is_flag=True, help="Everything inside, not only what is directly there.")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def fields(client: Client, path: str, recursive: bool, form: str) -> None:
    """Print what may stand at a field of a kind, of a blueprint, or of a blueprint's instances."""
    import msgspec

    from holdfast_hub.blueprint.explained import explained
    from holdfast_hub.cli.schemas import schema_of
    from holdfast_protocol.errors import NotFoundError

    kind, *steps = path.split(".")
    schema = schema_of(client, kind)
    try:
        found = msgspec.to_builtins(explained(schema, tuple(steps), recursive=recursive))
    except NotFoundError as error:
        raise exits.CliError(error.message, exits.NOT_FOUND, reason="NotFound", hint=error.hint) from None
    _print_fields(schema, found, form)


def _print_fields(schema: dict[str, Any], found: dict[str, Any], form: str) -> None:
    if form != "table":
        output.emit({"kind": schema["title"], **found}, form)
        return
    click.echo(f"KIND:   {schema['title']}")
    if found["path"]:
        click.echo(f"FIELD:  {found['path']} <{found['type']}>{_marks(found)}")
    if found.get("description"):
        click.echo(f"\n{found['description']}")
    if found.get("fields"):
        click.echo("\nFIELDS:")
        _print_inside(found["fields"], 2)


def _print_inside(fields: list[dict[str, Any]], indent: int) -> None:
    for each in fields:
        click.echo(f"{' ' * indent}{each['path']} <{each['type']}>{_marks(each)}")
        if each.get("description"):
            click.echo(f"{' ' * (indent + 4)}{each['description']}")
        _print_inside(each.get("fields", []), indent + 2)


def _marks(field: dict[str, Any]) -> str:
    """Return what stands after a type: required, its default, its choices, its limits."""
    marks = ["required"] if field.get("required") and field["path"] else []
    if field.get("default", "") not in ("", [], {}):
        marks.append(f"default {json.dumps(field['default'])}")
    if choices := [str(each) for each in field.get("choices", ()) if each != ""]:
        marks.append(f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])
    marks += field.get("limits", ())
    return f" ({'; '.join(marks)})" if marks else ""


@explain.command()
@click.argument("instance")
@click.argument("site")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def placement(client: Client, instance: str, site: str, form: str) -> int:
    """Print each requirement of an instance's placement and whether it holds at a site. Exit 0: it belongs there, 1: not."""
    answer = client.get("/v1/explain/placement", instance=instance, site=site)
    _print_placement(answer, form)
    return exits.DONE if answer["placed"] else exits.NEGATIVE


@explain.command()
@click.argument("site")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def windows(client: Client, site: str, form: str) -> None:
    """Print when changes may happen at a site: each gate now, and the next openings of its windows."""
    answer = client.get("/v1/explain/windows", site=site)
    _print_windows(answer, form)


def _print_windows(answer: dict[str, Any], form: str) -> None:
    if form != "table":
        output.emit(answer, form)
        return
    output.table(
        ["GATE", "NOW", "WHY"],
        [[each["gate"], "open" if each["open"] else "shut", each["message"]] for each in answer["gates"]],
    )
    rows = [
        [each["window"], ", ".join(each["gates"]), f"{each['zone']} ({each['zone_from']})", opening["local"]]
        for each in answer["windows"]
        for opening in each["openings"]
    ]
    if rows:
        click.echo()
        output.table(["WINDOW", "GATES", "ZONE", "OPENS"], rows)


def _print_placement(answer: dict[str, Any], form: str) -> None:
    if form != "table":
        output.emit(answer, form)
        return
    if answer["requirements"]:
        output.table(
            ["HOLDS", "OF", "REQUIREMENT", "THE SITE HAS"],
            [
                ["yes" if each["holds"] else "no", each["space"], each["requirement"], ", ".join(each["found"]) or "-"]
                for each in answer["requirements"]
            ],
        )
    belongs = "belongs" if answer["placed"] else "does not belong"
    more = f": {answer['message']}" if answer["message"] else ""
    output.say(output.printable(f"{answer['instance']} {belongs} on {answer['site']}{more}"))
