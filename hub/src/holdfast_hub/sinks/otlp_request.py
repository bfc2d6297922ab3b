"""Readings as OTLP has them: numbers as points of gauges, texts as log records, under one resource a device.

A point has no attribute that is of one reading alone: each value of it would be a new time series at the other side.
This module is imported with the first sink that needs it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from holdfast_hub.sinks.outlet import Labels
from holdfast_hub.sinks.record import identity_of
from holdfast_hub.store.sinks import Entry

_SCOPE: Final = InstrumentationScope(name="holdfast")
_NANOSECONDS: Final = 1_000_000  # in a millisecond
_LATEST: Final = (2**64 - 1) // _NANOSECONDS  # milliseconds that OTLP has a time for
Device = tuple[str, str, str]


def metrics_request(entries: Sequence[Entry], labels: Labels) -> bytes:
    """Return an ExportMetricsServiceRequest of readings that are numbers; booleans are 0 and 1."""
    request = ExportMetricsServiceRequest()
    resources: dict[Device, ResourceMetrics] = {}
    metrics: dict[tuple[Device, str, str], Metric] = {}
    qualities: dict[str, list[KeyValue]] = {}
    for entry in entries:
        one, device = entry.series, _device(entry)
        metric = metrics.get((device, one.metric, one.unit))
        if metric is None:
            below = resources.get(device)
            if below is None:
                below = resources[device] = request.resource_metrics.add(resource=_resource(device, labels))
                below.scope_metrics.add(scope=_SCOPE)
            metric = below.scope_metrics[0].metrics.add(name=one.metric, unit=one.unit)
            metrics[device, one.metric, one.unit] = metric
        quality = qualities.setdefault(one.quality, _attributes({"quality": one.quality}))
        point = metric.gauge.data_points.add(time_unix_nano=_time(entry), attributes=quality)
        value = entry.row.value
        if isinstance(value, int):
            point.as_int = int(value)  # a bool is none to protobuf
        elif isinstance(value, float):
            point.as_double = value
    return request.SerializeToString()


def logs_request(entries: Sequence[Entry], labels: Labels) -> bytes:
    """Return an ExportLogsServiceRequest of readings that are texts, each with its identity as `log.record.uid`."""
    request = ExportLogsServiceRequest()
    resources: dict[Device, ResourceLogs] = {}
    for entry in entries:
        device = _device(entry)
        below = resources.get(device)
        if below is None:
            below = resources[device] = request.resource_logs.add(resource=_resource(device, labels))
            below.scope_logs.add(scope=_SCOPE)
        one = entry.series
        words = {"metric": one.metric, "unit": one.unit, "quality": one.quality, "log.record.uid": identity_of(entry)}
        below.scope_logs[0].log_records.add(
            time_unix_nano=_time(entry),
            body=AnyValue(string_value=str(entry.row.value)),
            attributes=_attributes(words),
        )
    return request.SerializeToString()


def _device(entry: Entry) -> Device:
    return entry.series.site, entry.series.node, entry.series.device


def _resource(device: Device, labels: Labels) -> Resource:
    site, node, name = device
    words = {
        "service.name": "holdfast",
        "service.instance.id": f"{site}/{node}/{name}",
        "holdfast.site": site,
        "holdfast.node": node,
        "holdfast.device": name,
        **{f"holdfast.label.{key}": value for key, value in sorted(labels(site).items())},
    }
    return Resource(attributes=_attributes(words))


def _attributes(words: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in words.items() if value]


def _time(entry: Entry) -> int:
    """Return nanoseconds since 1970; 0, which is OTLP's word for unknown, before that and after 2554."""
    time = entry.row.time
    return time * _NANOSECONDS if 0 < time <= _LATEST else 0
