"""The built-in source: the site's own broker, [devices] of edge.toml, by the plain convention."""

from collections.abc import Callable
from typing import Final, Protocol

from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.intake import BATCH as BATCH
from holdfast_edge.ingest.intake import Intake
from holdfast_edge.ingest.mqtt import IN_FLIGHT, MAX_PACKET, run_mqtt
from holdfast_edge.ingest.taking import Sink
from holdfast_protocol.mapping.convention import plain
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Dial, Options

CURSOR: Final = "devices"
CLIENT_ID: Final = "holdfast-devices"  # one taker a site: of two the broker keeps the newer


class Source(Protocol):
    """Where devices publish; `topics` are subscription filters that end in #."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def topics(self) -> tuple[str, ...]: ...


async def run_devices(
    dial: Dial,
    source: Source,
    outbox: Sink,
    clock: Clock,
    *,
    on_state: Callable[[LinkState], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    state: SourceState | None = None,
    unix: str = "",
) -> None:
    """Take device messages until cancelled; `note` is told why none are taken ("": they are), `unix` is the broker's socket
    if it has one. Raises InputError for topics that name no device."""
    state = state or SourceState()

    def take(link: LinkState) -> None:
        if link.doing in ("settled", "waiting"):
            state.phase = "connected" if link.doing == "settled" else "connecting"
            state.reason, state.problem = ("", "") if link.doing == "settled" else (link.reason, link.message)
        on_state(link)

    intake = Intake(CURSOR, plain(source.topics), outbox, clock, note=note, state=state)
    options = Options(
        client_id=CLIENT_ID,
        host=source.host,
        port=source.port,
        unix=unix,
        receive_maximum=IN_FLIGHT,
        max_packet=MAX_PACKET,
        queue=2 * IN_FLIGHT,
    )
    await run_mqtt(dial, lambda: options, source.topics, intake, clock, on_state=take)
