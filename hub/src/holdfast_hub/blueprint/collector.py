"""An OpenTelemetry Collector configuration for one instance: its workloads' signals, its units' journal, its host."""

from collections.abc import Sequence
from typing import Any, Final

OTLP_GRPC: Final = "127.0.0.1:4317"
OTLP_HTTP: Final = "127.0.0.1:4318"
ENDPOINT: Final = "${env:OTEL_EXPORTER_OTLP_ENDPOINT}"
_HOST_SCRAPERS: Final = ("cpu", "disk", "filesystem", "load", "memory", "network")


def collector_config(
    blueprint: str, instance: str, *, units: Sequence[str] = (), containers: bool = False
) -> dict[str, Any]:
    """Return the configuration; `units` are followed in the journal, `containers` are measured at the engine."""
    receivers: dict[str, Any] = {
        "otlp": {"protocols": {"grpc": {"endpoint": OTLP_GRPC}, "http": {"endpoint": OTLP_HTTP}}},
        "hostmetrics": {"collection_interval": "30s", "scrapers": {name: {} for name in _HOST_SCRAPERS}},
    }
    if containers:
        receivers["docker_stats"] = {"endpoint": "unix:///var/run/docker.sock", "collection_interval": "30s"}
    if units:
        receivers["journald"] = {"units": sorted(units), "priority": "info", "start_at": "end"}
    metrics = [name for name in receivers if name != "journald"]
    logs = [name for name in receivers if name in ("otlp", "journald")]
    attributes = {"service.namespace": blueprint, "holdfast.blueprint": blueprint, "holdfast.instance": instance}
    processors = ["memory_limiter", "resource", "batch"]
    return {
        "receivers": receivers,
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_mib": 128, "spike_limit_mib": 32},
            "resource": {
                "attributes": [{"key": key, "value": value, "action": "upsert"} for key, value in attributes.items()]
            },
            "batch": {"timeout": "5s"},
        },
        "exporters": {"otlp": {"endpoint": ENDPOINT}},
        "service": {
            "pipelines": {
                signal: {"receivers": sources, "processors": processors, "exporters": ["otlp"]}
                for signal, sources in (("traces", ["otlp"]), ("metrics", metrics), ("logs", logs))
            }
        },
    }
