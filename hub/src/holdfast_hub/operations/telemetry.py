"""The hub's own metrics, to an OpenTelemetry collector when one is named: the SDK keeps and sends them, on our clock."""

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.sinks import SinkView, list_sinks
from holdfast_hub.sinks.outlet import missing
from holdfast_hub.store import figures
from holdfast_hub.store.figures import Nodes, Totals, Waiting
from holdfast_protocol.errors import InputError, TransientError

EVERY: Final = 30.0  # seconds
TIMEOUT: Final = 10.0  # seconds of one export
Words = dict[str, str]
Values = list[tuple[float, Words]]


class Figures(msgspec.Struct, frozen=True):
    """What is measured, at one moment. `lag`: seconds that the oldest target waits to be published."""

    sites: int = 0
    nodes: Nodes = Nodes(0, 0)
    waiting: Waiting = Waiting(0, 0)
    lag: float = 0.0
    totals: Totals = Totals(0, 0, 0)
    sinks: tuple[SinkView, ...] = ()


def _alone(pick: Callable[[Figures], float]) -> Callable[[Figures], Values]:
    return lambda held: [(pick(held), {})]


def _of_sinks(pick: Callable[[SinkView], float]) -> Callable[[Figures], Values]:
    return lambda held: [(pick(each), {"sink": each.name, "to": each.to}) for each in held.sinks]


LEVELS: Final[dict[str, tuple[str, Callable[[Figures], Values]]]] = {
    "holdfast.hub.sites": ("{site}", _alone(lambda held: held.sites)),
    "holdfast.hub.nodes": ("{node}", _alone(lambda held: held.nodes.known)),
    "holdfast.hub.sessions": ("{session}", _alone(lambda held: held.nodes.connected)),
    "holdfast.hub.targets.waiting": ("{target}", _alone(lambda held: held.waiting.count)),
    "holdfast.hub.publish.lag": ("s", _alone(lambda held: held.lag)),
    "holdfast.hub.streams": ("{stream}", _alone(lambda held: held.totals.streams)),
    "holdfast.hub.sink.lag": ("{reading}", _of_sinks(lambda each: each.lag)),
    "holdfast.hub.sink.failures": ("{failure}", _of_sinks(lambda each: each.failures)),  # in a row
}
COUNTS: Final[dict[str, tuple[str, Callable[[Figures], Values]]]] = {
    "holdfast.hub.readings.stored": ("{reading}", _alone(lambda held: held.totals.stored)),
    "holdfast.hub.readings.tombstoned": ("{reading}", _alone(lambda held: held.totals.tombstoned)),
    "holdfast.hub.sink.sent": ("{reading}", _of_sinks(lambda each: each.sent)),
    "holdfast.hub.sink.refused": ("{reading}", _of_sinks(lambda each: each.refused)),
    "holdfast.hub.sink.missed": ("{reading}", _of_sinks(lambda each: each.missed)),
    "holdfast.hub.sink.skipped": ("{group}", _of_sinks(lambda each: each.skipped)),
}


class Telemetry:
    """INVARIANTS: the SDK's threads see only `_figures`, which is replaced whole."""

    def __init__(self, hub: Hub, endpoint: str) -> None:
        """Raises PermanentError `NoDriver` without the extra it needs. Headers and TLS: OpenTelemetry's environment."""
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.metrics import Observation
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            raise missing("opentelemetry-sdk", "telemetry") from error
        self._hub = hub
        self._figures = Figures()
        self._limiter = anyio.CapacityLimiter(1)
        exporter = OTLPMetricExporter(f"{endpoint.rstrip('/')}/v1/metrics", timeout=TIMEOUT)
        resource = Resource.create({"service.name": "holdfast-hub", "service.namespace": str(hub.identity.fleet)})
        self._provider = MeterProvider(
            [PeriodicExportingMetricReader(exporter, math.inf)], resource, shutdown_on_exit=False
        )
        meter = self._provider.get_meter("holdfast")

        def observing(read: Callable[[Figures], Values]) -> list[Callable[[Any], Iterable[Any]]]:
            return [lambda _: [Observation(value, words) for value, words in read(self._figures)]]

        for name, (unit, read) in LEVELS.items():
            meter.create_observable_gauge(name, observing(read), unit)
        for name, (unit, read) in COUNTS.items():
            meter.create_observable_counter(name, observing(read), unit)

    async def run(self) -> None:
        """Export for ever. A collector that is not there costs a line in the log, and nothing else."""
        try:
            while True:
                with contextlib.suppress(
                    TransientError, InputError
                ):  # a full disk, a long read: the next turn tries again
                    await self.export()
                await self._hub.clock.sleep(EVERY)
        finally:
            self._provider.shutdown(1_000)

    async def export(self) -> None:
        """Look, and send what is seen."""
        self._figures = await self._look()
        await anyio.to_thread.run_sync(self._provider.force_flush, abandon_on_cancel=True, limiter=self._limiter)

    async def _look(self) -> Figures:
        hub = self._hub
        sites = await hub.store.read(lambda _: len(hub.fleet.sites))
        nodes = await hub.store.read(figures.nodes)
        waiting = await hub.store.read(figures.waiting)
        lag = max(hub.now() - waiting.since, 0) / 1000 if waiting.count else 0.0
        return Figures(sites, nodes, waiting, lag, await hub.reader.run(figures.totals), tuple(await list_sinks(hub)))
