"""ingest: what device data becomes, tried with samples before any site has the rules."""

import sys
import time
from pathlib import Path

import click

from holdfast_hub.cli import exits, output
from holdfast_hub.cli.exits import CliError


@click.group()
def ingest() -> None:
    """Try the rules of a DeviceSource."""


@ingest.command("test", short_help="Show what samples become by rules.")
@click.argument("rules", metavar="RULES")
@click.argument("sample", metavar="SAMPLE")
@click.option("--topic", default="", metavar="TOPIC", help="SAMPLE is one payload, published to this topic.")
@output.formatted("table", "json", "yaml")
def test(rules: str, sample: str, topic: str, form: str) -> int:
    """Show what each line `TOPIC PAYLOAD` of SAMPLE (- for standard input) becomes by RULES, a file with a DeviceSource.

    Needs no hub. Exit code 1 when a sample is rejected.
    """
    import msgspec

    from holdfast_protocol.errors import InputError
    from holdfast_protocol.kinds.source_trial import shown, tried

    try:
        text = Path(rules).read_text(encoding="utf-8")
        content = sys.stdin.buffer.read() if sample == "-" else Path(sample).read_bytes()
        found = tried(text, rules, content, int(time.time() * 1000), topic)
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", exits.USAGE, reason="CannotRead") from None
    except UnicodeDecodeError as error:
        raise CliError(str(error), exits.USAGE, reason="CannotRead") from None
    except InputError as error:
        plain = tuple(msgspec.to_builtins(problem) for problem in error.problems)
        raise CliError("the rules cannot be used", exits.USAGE, reason="InvalidInput", problems=plain) from None
    if form == "table":
        for each in found:
            click.echo(shown(each))
    else:
        output.emit({"samples": msgspec.to_builtins(found)}, form)
    return exits.NEGATIVE if any(each.is_rejected for each in found) else exits.DONE
