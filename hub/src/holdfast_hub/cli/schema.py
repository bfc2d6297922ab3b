"""schema: JSON Schema of what people write, for editors and other programs."""

import click

from holdfast_hub.cli import exits, output, schemas
from holdfast_hub.cli.client import Client


@click.command()
@click.argument("words", nargs=-1, metavar="[KIND | blueprint NAME]")
@click.option("--openapi", is_flag=True, help="Of a blueprint: as OpenAPI, the way Kubernetes has it.")
@output.formatted("json", "yaml", "name")
@click.pass_obj
def schema(client: Client, words: tuple[str, ...], openapi: bool, form: str) -> None:
    """Print the JSON Schema of a kind, or of the instances of a blueprint; without words, the names there are."""
    if len(words) == 2 and words[0].lower() == "blueprint":
        found = schemas.instance_schema(client, words[1], "openapi" if openapi else "json")
    elif len(words) == 1 and not openapi:
        found = schemas.schema_of(client, words[0])
    elif not words and not openapi:
        found = {"kinds": sorted(schemas.known().values())}
    else:
        exits.usage("schema takes KIND, or blueprint NAME", "--openapi is for blueprint NAME")
    if form == "name":
        for name in found["kinds"] if not words else [found.get("title", "")]:
            click.echo(name)
        return
    output.emit(found, form)
