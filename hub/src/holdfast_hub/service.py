"""The hub, composed: stores, broker, link, API, and the order in which they start and stop.

Whatever moment it is killed at, everything it ever published is in committed rows, and what is committed and not yet
published goes out at the next start.
"""

import base64
import contextlib
import fcntl
import logging
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import anyio

from holdfast_hub.api.server import application, run_api, tcp_socket, unix_socket
from holdfast_hub.link.identity import Identity
from holdfast_hub.link.ingest import Ingest
from holdfast_hub.link.publisher import Publisher
from holdfast_hub.link.session import Session
from holdfast_hub.operations.addressees import run_following
from holdfast_hub.operations.bridges import HubBridges
from holdfast_hub.operations.commands import run_command_expiry
from holdfast_hub.operations.holds import run_expiry
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.places import keep_places
from holdfast_hub.operations.retention import run_retention
from holdfast_hub.operations.sinks import Sinks
from holdfast_hub.operations.sites import refresh_facts, repair_placement
from holdfast_hub.operations.telemetry import Telemetry
from holdfast_hub.settings import Settings
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import keep_key, key_of, open_hub
from holdfast_hub.store.streams import StreamStore, open_streams
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.runtime.broker import EmbeddedBroker, configuration
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState, run_link
from holdfast_protocol.runtime.paho import dial
from holdfast_protocol.runtime.refusals import refusal_text
from holdfast_protocol.runtime.tasks import run_all
from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.names import SiteName, all_partitions, fleet_name

EPOCH: Final = 1  # of the trust root that introduced the hub's key
log = logging.getLogger(__name__)


class Health:
    """How the link is, for whoever asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link: LinkState | None = None
        self._told = ("", "")  # doing and reason of the last line of the log

    def take(self, state: LinkState) -> None:
        self._link = state
        if state.doing == "connecting" and state.failures:
            return  # the next of many: what is told is how it ends
        if (state.doing, state.reason) != self._told:
            self._told = (state.doing, state.reason)
            log.info("broker %s: %s %s", self._settings.broker or self._settings.listen, state.doing, state.message)

    def __call__(self) -> dict[str, Any]:
        settings, link = self._settings, self._link
        return {
            "broker": {
                "url": f"mqtt://{settings.broker or settings.listen}",
                "embedded": settings.broker is None,
                "connected": link is not None and link.doing in ("connected", "settled"),
                "reason": link.reason if link is not None else "",
                "message": link.message if link is not None else "",
            },
            "socket": str(settings.socket),
        }


def hub_key(folder: Path, believed: str = "") -> Signer:
    """Return the hub's key, made at the first start; `believed` is the name of the one that sites were told of, if any.

    Raises PermanentError `BadKey` for a file that holds anything else, or is gone: to every site a new key is a stranger.
    """
    path = folder / "hub.key"
    if not path.exists():
        if believed:
            raise PermanentError(f"{path} is gone", reason="BadKey", hint="restore it from its copy")
        fresh = path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.rename(path)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(held)
        finally:
            os.close(held)
    try:
        seed = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise PermanentError(f"{path}: {refusal_text(error)}", reason="BadKey") from error
    if len(seed) != 32:
        raise PermanentError(f"{path} holds no Ed25519 seed", reason="BadKey", hint="restore it from its copy")
    signer = Signer(seed)
    if believed not in ("", signer.keyid):
        text = f"{path} is another key than this hub's sites believe"
        raise PermanentError(text, reason="BadKey", hint="restore it from its copy")
    return signer


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process. [inv: one-writer-per-database]"""
    with open(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PermanentError(
                f"another hub works in {folder}", reason="FolderTaken", hint="stop it, or name another folder"
            ) from error
        yield


async def run_hub(settings: Settings, *, ready: Callable[[str], None] = log.info) -> None:
    """Run a hub until SIGTERM, SIGINT or cancellation. `ready` is told one line once requests are answered, and
    its own broker, if it has one, takes connections.

    Raises InputError for the settings, PermanentError for what it cannot start with, LoopDied when a part dies.
    """
    settings.check()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(alone(settings.data_dir))
        fleet = fleet_name(settings.fleet)
        store = open_hub(settings.data_dir / "hub.db", fleet, all_partitions())
        held.callback(store.close)
        signer = hub_key(settings.data_dir, key_of(store))
        keep_key(store, signer.keyid)
        streams = open_streams(settings.data_dir / "readings.db")
        held.callback(streams.close)
        reached = settings.reached
        identity = Identity(fleet, signer, EPOCH, reached.host, reached.port)
        clock, feed = SystemClock(), Feed()
        hub = Hub(store, StreamStore(streams), identity, feed, clock)
        await hub.load()
        await repair_placement(hub)
        await keep_places(hub)

        async def on_facts(sites: set[SiteName]) -> None:
            await refresh_facts(hub, sites)

        publisher = Publisher(store, identity, feed, clock, rate=settings.rate)
        ingest = Ingest(hub.streams, hub.keys.keys_of, fleet=fleet, clock=clock)
        session = Session(store, identity, feed, clock, hub.keys, ingest, publisher, on_facts)
        health = Health(settings)
        sockets = [unix_socket(settings.socket)]
        held.callback(settings.socket.unlink, missing_ok=True)
        held.callback(sockets[0].close)
        if settings.http is not None:
            sockets.append(tcp_socket(settings.http))
            held.callback(sockets[1].close)
        broker = settings.broker or settings.listen
        folder = settings.data_dir / "broker"
        text = configuration("hub.conf", listen=broker.host, port=broker.port, folder=folder)
        embedded = EmbeddedBroker(folder, broker.host, broker.port, text)

        async def run_linked() -> None:
            if settings.broker is None:
                await embedded.ready()
            await run_link(
                dial,
                lambda: session.options(broker.host, broker.port, settings.username, settings.password),
                session.serve,
                clock,
                on_state=health.take,
            )

        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "holds": lambda: run_expiry(hub),
            "retention": lambda: run_retention(hub),
            "sinks": Sinks(hub).run,
            "bridges": HubBridges(
                hub, dial, settings.data_dir / "bridges", broker.host, broker.port, settings.username, settings.password
            ).run,
            "commands": lambda: run_command_expiry(hub),
            "addressees": lambda: run_following(hub),
            "api": lambda: run_api(application(hub, health), sockets, feed),
            "link": run_linked,
        }
        if settings.telemetry:
            loops["telemetry"] = Telemetry(hub, settings.telemetry).run
        if settings.broker is None:
            loops["broker"] = embedded.run
        line = f"hub of fleet {fleet} ready: API at {settings.socket}, broker at {broker}"

        async def tell_ready() -> None:
            if settings.broker is None:
                await embedded.ready()
            ready(line)

        await _until_signal({**loops, "ready": tell_ready})


async def _until_signal(loops: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                async for number in signals:
                    log.info("%s: stopping", signal.Signals(number).name)
                    group.cancel_scope.cancel()

            group.start_soon(watch, name="signals")
            await run_all(loops)
            group.cancel_scope.cancel()
