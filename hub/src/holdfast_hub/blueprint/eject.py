"""Eject: an instance as plain files that need nothing of ours. Works from documents alone."""

import base64
import binascii
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.blueprint.collector import collector_config
from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.native import native_files
from holdfast_hub.blueprint.program import late_resources
from holdfast_hub.blueprint.render import Rendered, render
from holdfast_hub.blueprint.undecided import UNDECIDED, undecided
from holdfast_protocol.blueprint import names
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.images import images_of
from holdfast_protocol.errors import InputError, Problem, WireError

COLLECTOR: Final = "otel-config.yaml"
MODES: Final = "file-modes.yaml"  # a hyphen: no resource's id can be called so
_DESCRIPTION: Final = re.compile(r"^Description[ \t]*=[ \t]*(.+)$", re.MULTILINE)
_SELECTING: Final = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"})


def eject(definition: Definition, instance: Instance) -> dict[str, str]:
    """Return text by relative path, all below a folder of the instance's name. Raises InputError.

    A manifest per resource, a unit file per SystemdService, the content of each File with a list of modes and owners, the
    machine's own form of Sysctl, KernelModule and Firewall, and a configuration for an OpenTelemetry Collector.
    """
    return _Ejecting(definition, instance).run()


class _Ejecting:
    def __init__(self, definition: Definition, instance: Instance) -> None:
        self._definition = definition
        self._instance = instance
        self._files: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._modes: list[dict[str, Any]] = []

    def run(self) -> dict[str, str]:
        rendered = render(self._definition, self._instance)
        units = [each for each in rendered if each.body["kind"] == "SystemdService"]
        files = [each for each in rendered if each.body["kind"] == "File"]
        for each in rendered:
            if each not in units and each not in files:
                self._add_other(each)
        for each, name in _unit_names(units):
            self._add_unit(each, name)
        for each in files:
            self._add_file(each, rendered)
        if self._modes:
            head = "# Content in files/ below; set mode and owner as said here (nothing said: as the machine does).\n"
            self._put(MODES, head + yaml_writer.write({"files": self._modes}))
        self._put(COLLECTOR, self._collector(rendered, units))
        if late := late_resources(self._definition, self._instance):
            self._put(UNDECIDED, undecided(late, self._definition))
        if self._problems:
            raise InputError(self._problems)
        return dict(sorted(self._files.items()))

    def _collector(self, rendered: list[Rendered], units: list[Rendered]) -> str:
        config = collector_config(
            self._definition.name,
            self._instance.name,
            units=[_unit_name(each) for each in units],
            containers=any(next(images_of(each.body), None) for each in rendered),
        )
        head = (
            "# OpenTelemetry Collector (contrib) configuration. Set OTEL_EXPORTER_OTLP_ENDPOINT to host:4317,\n"
            f"# then: otelcol-contrib --config {COLLECTOR}\n"
        )
        return head + yaml_writer.write(config)

    def _add_other(self, each: Rendered) -> None:
        try:
            files = native_files(each.body)
        except WireError as error:
            self._refuse(each, error.message)
            return
        if files is None:
            files = {f"{each.label}.yaml": yaml_writer.write(_complete(each.body))}
        for path, text in files.items():
            self._add(each, path, text)

    def _add_unit(self, each: Rendered, name: str) -> None:
        spec = each.body.get("spec") or {}
        unit, service = spec.get("unit"), _unit_name(each)
        if not isinstance(unit, str):
            self._refuse(each, "spec.unit must be text")
            return
        start = "enable --now" if spec.get("enabled", True) and "[Install]" in unit else "start"
        head = f"# Install as /etc/systemd/system/{service}, then: systemctl daemon-reload && systemctl {start} {service}\n"
        self._add(each, f"{name}.unit", head + unit)
        drop_ins = spec.get("dropIns")
        for key, text in drop_ins.items() if isinstance(drop_ins, dict) else ():
            target = key if key.endswith(".conf") else f"{key}.conf"
            if not re.fullmatch(r"[A-Za-z0-9:_-][A-Za-z0-9:_.-]*", target):
                self._refuse(each, f"{key[:80]!r} cannot name a drop-in")
                continue
            head = f"# Install as /etc/systemd/system/{service}.d/{target}, then: systemctl daemon-reload\n"
            self._add(each, f"{name}.unit.d/{target}", head + str(text))

    def _add_file(self, each: Rendered, rendered: list[Rendered]) -> None:
        spec = each.body.get("spec") or {}
        path = spec.get("path")
        if not isinstance(path, str) or not _is_plain_path(path):
            self._refuse(each, f"spec.path {str(path)[:200]!r} is no plain absolute path")
            return
        entry = {"path": path, **{key: spec[key] for key in ("mode", "owner", "group") if key in spec}}
        content, encoding = _content(spec, rendered)
        if content is None:
            entry["contentFrom"] = spec.get("contentFrom")
        else:
            entry["file"] = f"files{path}{'.base64' if encoding else ''}"
            self._add(each, entry["file"], content)
        self._modes.append(entry)

    def _add(self, each: Rendered, path: str, text: str) -> None:
        taken = {name.lower() for name in self._files}
        full = f"{self._instance.name}/{path}".lower()
        if full in taken or any(name.startswith(f"{full}/") or full.startswith(f"{name}/") for name in taken):
            self._refuse(each, f"its file {path[:200]} collides with another's")
            return
        self._put(path, text)

    def _put(self, path: str, text: str) -> None:
        self._files[f"{self._instance.name}/{path}"] = (
            text if text.endswith("\n") or path.startswith("files/") else f"{text}\n"
        )

    def _refuse(self, each: Rendered, message: str) -> None:
        place = next(node.template.path for node in self._definition.nodes if node.id == each.id)
        text = f"{message} (resource {each.id} of {self._instance.owner})"
        self._problems.append(self._definition.document.problem(place, text))


def _unit_name(each: Rendered) -> str:
    """Return the name systemd knows a SystemdService by."""
    spec = each.body.get("spec") or {}
    name = str(spec.get("name") or each.body["metadata"]["name"])
    return name if name.endswith(".service") else f"{name}.service"


def _unit_names(units: list[Rendered]) -> Iterator[tuple[Rendered, str]]:
    """Yield each unit with the name of its file: what its Description says, its id where two say the same."""
    slugs = {each.label: _slug(each) for each in units}
    count = Counter(slugs.values())
    for each in units:
        slug = slugs[each.label]
        yield each, slug if count[slug] == 1 else f"{slug}-{each.label}"


def _slug(each: Rendered) -> str:
    spec = each.body.get("spec") or {}
    found = _DESCRIPTION.search(str(spec.get("unit", "")))
    text = unicodedata.normalize("NFKD", found[1] if found else "").encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:63].strip("-") or str(each.body["metadata"]["name"])


def _is_plain_path(path: str) -> bool:
    parts = path.split("/")
    return (
        path.startswith("/")
        and len(path) <= 1024
        and not names.has_control(path)
        and "\n" not in path
        and all(part not in ("", ".", "..") for part in parts[1:])
    )


def _content(spec: dict[str, Any], rendered: list[Rendered]) -> tuple[str | None, bool]:
    """Return a file's content, and whether it is still base64 because it is no text; None when it is a secret's."""
    if isinstance(spec.get("content"), str):
        return spec["content"], False
    if isinstance(spec.get("contentBase64"), str):
        return _decoded(spec["contentBase64"])
    source = spec.get("contentFrom")
    if isinstance(source, dict) and isinstance(source.get("configMap"), str):
        for each in rendered:
            body = each.body
            if body["kind"] == "ConfigMap" and body["metadata"]["name"] == source["configMap"]:
                plain, encoded = body.get("data") or {}, body.get("binaryData") or {}
                key = source.get("key")
                if isinstance(plain.get(key), str):
                    return plain[key], False
                if isinstance(encoded.get(key), str):
                    return _decoded(encoded[key])
    return None, False


def _decoded(text: str) -> tuple[str, bool]:
    try:
        return base64.b64decode(text, validate=True).decode(), False
    except (binascii.Error, ValueError):
        return text, True


def _complete(body: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with what Kubernetes insists on and our engine does not need: the selector of its Pods."""
    spec = body.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    if (
        body["kind"] not in _SELECTING
        or not isinstance(spec, dict)
        or "selector" in spec
        or not isinstance(template, dict)
    ):
        return body
    metadata = template.get("metadata") or {}
    if not isinstance(metadata, dict):
        return body
    labels = metadata.get("labels") or {"app.kubernetes.io/name": body["metadata"]["name"]}
    return {
        **body,
        "spec": {
            **spec,
            "selector": {"matchLabels": labels},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
