"""The holdfast command: verbs found by name, imported only when used, so that any of them starts at once."""

import importlib
import os
import sys
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.client import Client, default_socket

_VERBS: Final = {  # name: (module, attribute, short help)
    "up": ("up", "up", "Start a hub, with a broker of its own or an existing one."),
    "apply": ("apply", "apply", "Create or change what the files describe."),
    "diff": ("apply", "diff", "Show what applying the files would change at which sites."),
    "render": ("apply", "render", "Print the resources the files' instances become."),
    "delete": ("objects", "delete", "Delete an object by name."),
    "get": ("objects", "get", "List objects, or show one."),
    "describe": ("describe", "describe", "Everything known of one object, for people."),
    "explain": ("explain", "explain", "Say why an instance is on a site or not, or what a field may say."),
    "schema": ("schema", "schema", "Print the JSON Schema of a kind or of a blueprint's instances."),
    "wait": ("wait", "wait", "Wait until an instance or site has reached a state."),
    "hold": ("holds", "hold", "Have sites leave things alone for a while."),
    "release": ("holds", "release", "End a hold before its time."),
    "override": ("overrides", "override", "Adopt or drop what people at sites changed."),
    "retry": ("site", "retry", "Have sites try their target once more."),
    "site": ("site", "site", "Add, label, list and show sites."),
    "blueprint": ("blueprint", "blueprint", "Eject a blueprint to plain files."),
    "device": ("device", "device", "Command, label and forget devices, and say what they shall be."),
    "readings": ("readings", "readings", "Query device readings."),
    "export": ("export", "export", "Write readings as CSV, JSON lines or Parquet."),
    "ingest": ("ingest", "ingest", "Try what device data becomes by the rules of a DeviceSource."),
    "sink": ("sinks", "sink", "Have a sink given again what is stored."),
    "bridge": ("bridges", "bridge", "Show how bridges do, and check one before it is applied."),
    "ledger": ("readings", "ledger", "Prove of a site: sent = stored + recorded losses + pending."),
    "doctor": ("doctor", "doctor", "Check the hub, its broker and this machine."),
    "db": ("db", "db", "Look into a database file with sqlite-utils."),
    "completion": ("completion", "completion", "Print the shell completion script."),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, attribute, _ = _VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"holdfast_hub.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], _VERBS, 1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _VERBS.items()])


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--socket", "path", metavar="PATH", help="The hub's socket (HOLDFAST_SOCKET).")
@click.version_option(package_name=None, version="0.1.0", prog_name="holdfast")
@click.pass_context
def cli(ctx: click.Context, path: str | None) -> None:
    """Fleets that run on their own: blueprints in, converged sites out."""
    ctx.obj = Client(path or default_socket())


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with a code of `exits`."""
    words = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(words))


def _run(words: list[str]) -> int:
    form = "json" if _wants_json(words) else "table"
    try:
        result: Any = cli.main(words, prog_name="holdfast", standalone_mode=False)
    except exits.CliError as error:
        output.report(error, form)
        return error.code
    except click.exceptions.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        if form == "json":
            output.report(exits.CliError(error.format_message(), exits.USAGE, reason="Usage"), form)
        else:
            error.show()
        return exits.USAGE
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our pipe has gone; nothing more can be said
        return exits.DONE
    except OSError as error:
        trouble = exits.unusable(error)
        output.report(trouble, form)
        if error.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it is not tried again
        return trouble.code
    return result if isinstance(result, int) else exits.DONE


def _wants_json(words: list[str]) -> bool:
    pairs = zip(words, [*words[1:], ""], strict=True)
    return any(
        word in ("-ojson", "--output=json") or (word in ("-o", "--output") and then == "json") for word, then in pairs
    )
