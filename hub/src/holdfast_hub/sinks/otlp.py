"""Readings to an OpenTelemetry collector: OTLP over HTTP, protobuf, gzip.

What the specification calls a partial success is counted: those readings the collector will never take.
"""

import gzip
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import anyio.to_thread

from holdfast_hub.blueprint.destinations import OTLP
from holdfast_hub.sinks.outlet import MAX_WHY, Labels, Refusal, in_halves, missing, secret
from holdfast_hub.sinks.poster import Answer, Poster
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import Clock

UNFIT: Final = (400, 413, 422)  # what is asked says: this body, however often
LEVEL: Final = 1  # of gzip: most of what there is to gain, at a fifth of the time of the default


class OTLPOutlet:
    def __init__(self, wanted: OTLP, clock: Clock, labels: Labels) -> None:
        """Raises PermanentError `NoDriver` without the extra it needs."""
        try:
            from google.protobuf.message import DecodeError
            from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
            from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

            from holdfast_hub.sinks.otlp_request import logs_request, metrics_request
        except ImportError as error:
            raise missing("opentelemetry-proto", "otlp") from error
        base = wanted.endpoint.rstrip("/")
        self._metrics = _Signal(
            f"{base}/v1/metrics", metrics_request, ExportMetricsServiceResponse, "rejected_data_points"
        )
        self._logs = _Signal(f"{base}/v1/logs", logs_request, ExportLogsServiceResponse, "rejected_log_records")
        self._undecodable = DecodeError
        self._wanted = wanted
        self._labels = labels
        self._poster = Poster(wanted.tls, wanted.timeout_seconds, clock)

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        """Send numbers and texts, each in one request, or in as many as it takes to find what is unfit."""
        numbers = [each for each in entries if each.series.kind != "text"]
        texts = [each for each in entries if each.series.kind == "text"]
        refusal = Refusal()
        for signal, some in ((self._metrics, numbers), (self._logs, texts)):
            if some:
                refusal += await in_halves(some, partial(self._attempt, signal))
        return refusal

    async def _attempt(self, signal: "_Signal", entries: Sequence[Entry]) -> tuple[bool, Refusal]:
        answer = await self._export(signal, entries)
        if answer.taken:
            return True, self._partial(signal, answer, len(entries))
        if answer.status not in UNFIT:
            raise answer.refusal()
        if len(entries) == 1 and not (await self._export(signal, ())).taken:
            raise answer.refusal()  # it does not take nothing either: this is no matter of the reading
        return False, Refusal(why=answer.refusal().message)

    async def _export(self, signal: "_Signal", entries: Sequence[Entry]) -> Answer:
        headers = await self._headers()
        body = await anyio.to_thread.run_sync(lambda: gzip.compress(signal.request(entries, self._labels), LEVEL))
        headers |= {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        return await self._poster.post(signal.url, body, headers)

    async def _headers(self) -> dict[str, str]:
        """Return the headers of the file. Raises TransientError: somebody may mend it."""
        if not self._wanted.headers_file:
            return {}
        path = self._wanted.headers_file
        found = {}
        for line in (await secret(path)).splitlines():
            name, colon, value = line.partition(":")
            if line.strip() and (not colon or not name.strip().isascii() or not value.strip().isascii()):
                raise TransientError(f"{path} has a line that is no `name: value`", reason="NoSecret")
            if line.strip():
                found[name.strip().lower()] = value.strip()
        return found

    def _partial(self, signal: "_Signal", answer: Answer, sent: int) -> Refusal:
        """Return what an answer says of a partial success; one that cannot be read says nothing."""
        try:
            said = signal.response.FromString(answer.body).partial_success
        except self._undecodable:
            return Refusal()
        return Refusal(min(max(getattr(said, signal.rejected), 0), sent), said.error_message[:MAX_WHY])

    async def close(self) -> None:
        """Nothing is kept between requests."""


class _Signal:
    """One of the things a collector takes: where, how it is written, how it answers."""

    def __init__(self, url: str, request: Any, response: Any, rejected: str) -> None:
        self.url = url
        self.request = request
        self.response = response
        self.rejected = rejected
