"""Shell completion, by click's own scripts."""

import click
from click.shell_completion import get_completion_class

from holdfast_hub.cli import exits


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: `holdfast completion bash > /etc/bash_completion.d/holdfast`."""
    from holdfast_hub.cli.main import cli

    script = get_completion_class(shell)
    if script is None:
        exits.usage(f"no completion for {shell}")
    click.echo(script(cli, {}, "holdfast", "_HOLDFAST_COMPLETE").source())
