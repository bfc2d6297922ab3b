"""An OpenTelemetry Collector configuration for one instance: its workloads' signals, its units' journal, its host."""

import re
from collections.abc import Sequence
from typing import Any, Final

from holdfast_protocol.blueprint import yaml_text

OTLP_GRPC: Final = "127.0.0.1:4317"
OTLP_HTTP: Final = "127.0.0.1:4318"
ENDPOINT: Final = "${env:OTEL_EXPORTER_OTLP_ENDPOINT}"
_PARTS: Final = ("receivers", "processors", "exporters", "connectors", "extensions")
_SIGNALS: Final = ("traces", "metrics", "logs", "profiles")
_LOOKS: Final = re.compile(r"^receivers[ \t]*:", re.MULTILINE)
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


def flaws(config: Any) -> list[str]:
    """Return what a collector's configuration lacks in its structure: it names only what it has, and says where to and from.

    What each receiver or exporter understands is the collector's own to judge.
    """
    if not isinstance(config, dict):
        return ["is no map"]
    found = [f"{key} is no map" for key in _PARTS if not isinstance(config.get(key) or {}, dict)]
    service = config.get("service")
    pipelines = service.get("pipelines") if isinstance(service, dict) else None
    if found or not isinstance(service, dict) or not isinstance(pipelines, dict) or not pipelines:
        return [*found, *([] if pipelines else ["service.pipelines has none"])]
    for name, pipeline in pipelines.items():
        where = f"service.pipelines.{name}"
        if str(name).partition("/")[0] not in _SIGNALS:
            found.append(f"{where}: is not traces, metrics, logs or profiles")
        for part in _PARTS[:3]:
            listed = pipeline.get(part, []) if isinstance(pipeline, dict) else None
            if not isinstance(listed, list):
                found.append(f"{where}.{part} is no list")
                continue
            if not listed and part != "processors":
                found.append(f"{where}.{part} is empty")
            known = {*(config.get(part) or {}), *((config.get("connectors") or {}) if part != "processors" else ())}
            found += [f"{where}.{part}: {each} is not among {part}" for each in listed if str(each) not in known]
    extensions = service.get("extensions") or []
    if not isinstance(extensions, list):
        return [*found, "service.extensions is no list"]
    there = config.get("extensions") or {}
    return [
        *found,
        *(f"service.extensions: {each} is not among extensions" for each in extensions if str(each) not in there),
    ]


def flaws_of_text(text: str) -> list[str]:
    """Return the flaws of a file that is a collector's configuration by its looks; none for any other file."""
    if not _LOOKS.search(text):
        return []
    parsed, problems = yaml_text.parse(text)
    if problems or len(parsed) != 1:
        return []
    value = parsed[0].value
    return flaws(value) if isinstance(value, dict) and {"receivers", "exporters"} <= value.keys() else []
