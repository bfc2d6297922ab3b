"""db: looking into a database with sqlite-utils (an extra, imported nowhere else)."""

import importlib.util
import sys

import click

from holdfast_hub.cli import exits


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SQLITE-UTILS WORDS]...")
def db(words: tuple[str, ...]) -> None:
    """Run sqlite-utils on a database: `holdfast db tables hub.db --counts`, `holdfast db rows hub.db site`."""
    if importlib.util.find_spec("sqlite_utils") is None:
        exits.usage("sqlite-utils is not installed", "pip install 'holdfast-hub[tools]'")
    from sqlite_utils.cli import cli

    sys.exit(cli.main(list(words), prog_name="holdfast db", standalone_mode=True))
