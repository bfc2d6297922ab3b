"""up: a hub in the foreground."""

import logging
from pathlib import Path

import click

from holdfast_hub.cli import exits
from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import CliError


@click.command()
@click.option(
    "--data-dir", "folder", required=True, metavar="DIR", help="Where databases, key and broker files are kept."
)
@click.option("--fleet", default="fleet", show_default=True, help="The fleet's name; never changes afterwards.")
@click.option("--broker", metavar="URL", help="An existing broker: mqtt://HOST[:PORT]; none: one of our own.")
@click.option("--broker-listen", metavar="HOST:PORT", help="Where our own broker listens (default 127.0.0.1:1883).")
@click.option("--advertise", metavar="HOST:PORT", help="Where sites reach the broker, when it is not as above.")
@click.option("--http", metavar="HOST:PORT", help="Also serve the API on loopback TCP.")
@click.option("--telemetry", metavar="URL", default="", help="Send the hub's own metrics there by OTLP over HTTP.")
@click.option("--verbose", is_flag=True, help="Log more.")
@click.pass_obj
def up(
    client: Client,
    folder: str,
    fleet: str,
    broker: str | None,
    broker_listen: str | None,
    advertise: str | None,
    http: str | None,
    telemetry: str,
    verbose: bool,
) -> int:
    """Start a hub: the API on its socket, with a broker of its own or an existing one. ^C stops it."""
    import anyio

    from holdfast_hub.service import run_hub
    from holdfast_hub.settings import LISTEN, Address, Settings, address
    from holdfast_protocol.errors import HoldfastError, InputError
    from holdfast_protocol.runtime.tasks import death

    if broker and broker_listen:
        exits.usage("--broker names an existing broker, --broker-listen is for our own", "give one of them")

    def named(option: str, text: str | None) -> Address | None:
        return address(text, option) if text else None

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = Settings(
            data_dir=Path(folder).absolute(),
            fleet=fleet,
            socket=Path(client.path).absolute(),
            broker=named("--broker", broker),
            listen=named("--broker-listen", broker_listen) or LISTEN,
            advertise=named("--advertise", advertise),
            http=named("--http", http),
            telemetry=telemetry,
        )
        settings.check()
        anyio.run(run_hub, settings)
    except InputError as error:
        problems = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
        raise CliError(problems, exits.USAGE, reason=error.reason) from None
    except HoldfastError as error:
        code = exits.CONFLICT if error.reason == "FolderTaken" else exits.UNREACHABLE
        raise CliError(error.message, code, reason=error.reason, hint=error.hint) from None
    except BaseExceptionGroup as group:
        died = death(group)
        if died is None:
            raise
        hint = died.__cause__.hint if isinstance(died.__cause__, HoldfastError) else ""
        raise CliError(f"{died}: {died.__cause__}", exits.UNREACHABLE, reason="LoopDied", hint=hint) from None
    return exits.DONE
