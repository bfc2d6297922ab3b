"""An OpenTelemetry collector of a test: it reads what it is sent as the protocol says, and answers as told."""

import gzip
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from support.receiver import Asked, Receiver, Reply

Words = dict[str, str]
Exported = ExportMetricsServiceRequest | ExportLogsServiceRequest


class Point(NamedTuple):
    resource: Words
    metric: str
    unit: str
    point: NumberDataPoint


class Record(NamedTuple):
    resource: Words
    record: LogRecord


class Collector:
    """`answer` is asked for each request; of one that it does not answer with 200 nothing is taken."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.points: list[Point] = []
        self.records: list[Record] = []
        self.answer: Callable[[Exported], Reply] = lambda _: Reply()
        self.server = Receiver(self._answer, context)
        self.endpoint = f"{'https' if context else 'http'}://127.0.0.1:{self.server.port}"

    def _answer(self, asked: Asked) -> Reply:
        assert asked.headers["content-type"] == "application/x-protobuf"
        body = gzip.decompress(asked.body) if asked.headers.get("content-encoding") == "gzip" else asked.body
        request: Exported
        if asked.path == "/v1/metrics":
            request = ExportMetricsServiceRequest.FromString(body)
            reply = self.answer(request)
            if reply.status == 200:
                self.points += _points(request)
        else:
            assert asked.path == "/v1/logs"
            request = ExportLogsServiceRequest.FromString(body)
            reply = self.answer(request)
            if reply.status == 200:
                self.records += _records(request)
        return reply


def words(attributes: "Iterator[KeyValue]") -> Words:
    return {each.key: each.value.string_value for each in attributes}


def _points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for below in request.resource_metrics:
        for scope in below.scope_metrics:
            for metric in scope.metrics:
                for point in (*metric.gauge.data_points, *metric.sum.data_points):
                    yield Point(words(iter(below.resource.attributes)), metric.name, metric.unit, point)


def _records(request: ExportLogsServiceRequest) -> Iterator[Record]:
    for below in request.resource_logs:
        for scope in below.scope_logs:
            for record in scope.log_records:
                yield Record(words(iter(below.resource.attributes)), record)


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Collector]:
    collector = Collector(context)
    try:
        yield collector
    finally:
        collector.server.close()
