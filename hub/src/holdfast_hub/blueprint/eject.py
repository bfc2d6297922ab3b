"""Eject: an instance as plain files that need nothing of ours. Works from documents alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast_hub.blueprint import yaml_writer
from holdfast_hub.blueprint.collector import collector_config, flaws_of_text
from holdfast_hub.blueprint.instance import Instance
from holdfast_hub.blueprint.leaving import container_steps, readme, units
from holdfast_hub.blueprint.leaving.container_steps import COMPOSE
from holdfast_hub.blueprint.leaving.containers import Missing, PodPiece, makes_pods, pods
from holdfast_hub.blueprint.leaving.folder import PRIVATE, Folder
from holdfast_hub.blueprint.leaving.machine import MACHINE, Asked
from holdfast_hub.blueprint.leaving.people import PEOPLE
from holdfast_hub.blueprint.leaving.room import Room
from holdfast_hub.blueprint.leaving.script import script
from holdfast_hub.blueprint.leaving.units import SERVICE, UNITS, file_names
from holdfast_hub.blueprint.native import native_files
from holdfast_hub.blueprint.program import late_resources
from holdfast_hub.blueprint.render import Rendered, render
from holdfast_hub.blueprint.undecided import UNDECIDED, undecided
from holdfast_protocol.blueprint.definition import Definition
from holdfast_protocol.blueprint.images import images_of
from holdfast_protocol.errors import InputError, PermanentError, Problem, UnsupportedError, WireError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource, resource

COLLECTOR: Final = "otel-config.yaml"
MODES: Final = "file-modes.yaml"  # a hyphen: no resource's id can be called so
INSTALL: Final = "install.sh"
README: Final = "README.md"
_NO_MANIFEST: Final = frozenset({*MACHINE, *UNITS, SERVICE})  # their own form says it all
_USED: Final = frozenset({"ConfigMap", "Secret", "Service", "PersistentVolumeClaim"})  # by Pods and Files of the folder
_WHY: Final = {
    "Job": "an engine alone runs nothing once and remembers it: kubectl apply, or run its container by hand",
    "CronJob": "an engine alone has no schedule: kubectl apply, or a timer that runs its container",
    "Kubernetes": "kubectl apply its manifests",
    "MandatoryAccessControl": "it is for apparmor_parser or SELinux by hand",
    "DeviceSource": "readings are the agent's to take: a collector or a bridge of the site's broker may",
    "Bridge": "its queue is the agent's: Mosquitto's own bridge may do without one, and counts no drops",
    "AgentVersion": "there is no agent here",
    "DiskEncryption": "it asserts, and changes nothing",
    "SecureBoot": "it asserts, and changes nothing",
}
_OTHER: Final = "nothing of this machine makes such a resource: its manifest is for whoever does"
_SELECTING: Final = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"})


def eject(
    definition: Definition,
    instance: Instance,
    *,
    name: str = "",
    rendered: Sequence[Rendered] | None = None,
    around: Mapping[ResourceKey, Resource] | None = None,
) -> Folder:
    """Return the files, all below a folder `name` (the instance's unless said). Raises InputError.

    `rendered` stands for what the instance renders to (a site's overlays done); `around` is what else its references
    may lead to. See docs/blueprints.md for the files.
    """
    return _Ejecting(definition, instance, name or instance.name, rendered, around or {}).run()


class _Ejecting:
    def __init__(
        self,
        definition: Definition,
        instance: Instance,
        name: str,
        rendered: Sequence[Rendered] | None,
        around: Mapping[ResourceKey, Resource],
    ) -> None:
        self._definition = definition
        self._instance = instance
        self._rendered = render(definition, instance) if rendered is None else rendered
        own = [resource(each.body) for each in self._rendered]
        self._room = Room(name, {**around, **{each.key: each for each in own}})
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._pods: list[PodPiece] = []

    def run(self) -> Folder:
        services = [each for each in self._rendered if each.body["kind"] == SERVICE]
        names = file_names(services)
        running: list[str] = []
        for each in self._rendered:
            try:
                if each in services:
                    running.append(units.service(self._room, each, names[each.label]))
                else:
                    self._write(each)
            except (WireError, PermanentError, UnsupportedError) as error:
                self._refuse(each, error.message)
        images: Sequence[str] = ()
        private = False
        try:
            made = container_steps.write(self._room, self._pods)
            images, private = made.images, made.private
        except WireError as error:
            self._refuse(next(each for each in self._rendered if makes_pods(each)), error.message)
        self._write_lists(running)
        late = late_resources(self._definition, self._instance)
        if late:
            self._room.filing.line(UNDECIDED, undecided(late, self._definition))
        if self._problems:
            raise InputError(self._problems)
        room = self._room
        text = script(room.instance, room.steps, images, room.remarks, people=room.people)
        room.filing.line(INSTALL, text, 0o700 if private else 0o755)
        secret = [path.partition("/")[2] for path in room.filing.folder().private]
        about = readme.readme(
            room.instance,
            self._definition.name,
            room.left,
            secret,
            room.remarks,
            undecided=UNDECIDED if late else "",
            compose=COMPOSE if self._pods else "",
        )
        room.filing.line(README, about)
        return room.filing.folder(tuple(self._warnings))

    def _write(self, each: Rendered) -> None:
        kind = each.body["kind"]
        writer = {**MACHINE, **UNITS, **PEOPLE}.get(kind)
        if kind not in _NO_MANIFEST:
            self._write_manifest(each)
        if writer is not None:
            writer(self._room, Asked(each))
            if kind == "File":
                self._check_collector(each)
        elif makes_pods(each):
            found = pods(self._room.instance, each, self._room.scope)
            if isinstance(found, Missing):
                self._room.leave(each, found.why)
            else:
                self._pods += found
        elif kind not in _USED:
            self._room.leave(each, _WHY.get(kind, _OTHER))

    def _write_manifest(self, each: Rendered) -> None:
        native = native_files(each.body)
        secret = each.body["kind"] == "Secret"
        files = {f"{each.label}.yaml": yaml_writer.write(_complete(each.body))} if native is None else native
        for path, text in files.items():
            self._room.filing.line(path, text, PRIVATE if secret else 0o644)

    def _write_lists(self, services: Iterable[str]) -> None:
        if self._room.modes:
            head = "# Content in files/ below; install.sh sets modes and owners as said here (left out: as the machine does).\n"
            self._room.filing.line(MODES, head + yaml_writer.write({"files": self._room.modes}))
        config = collector_config(
            self._definition.name,
            self._instance.name,
            units=list(services),
            containers=any(next(images_of(each.body), None) for each in self._rendered),
        )
        head = (
            "# OpenTelemetry Collector (contrib) configuration. Set OTEL_EXPORTER_OTLP_ENDPOINT to host:4317,\n"
            f"# then: otelcol-contrib --config {COLLECTOR}\n"
        )
        self._room.filing.line(COLLECTOR, head + yaml_writer.write(config))

    def _check_collector(self, each: Rendered) -> None:
        """A File that is a collector's configuration: what it names must be there."""
        spec = each.body.get("spec") or {}
        content = spec.get("content")
        for flaw in flaws_of_text(content) if isinstance(content, str) else ():
            problem = self._problem(each, f"as a collector's configuration: {flaw}")
            self._warnings.append(msgspec.structs.replace(problem, severity="warning"))

    def _refuse(self, each: Rendered, message: str) -> None:
        self._problems.append(self._problem(each, message))

    def _problem(self, each: Rendered, message: str) -> Problem:
        place = next(node.template.path for node in self._definition.nodes if node.id == each.id)
        return self._definition.document.problem(place, f"{message} (resource {each.id} of {self._instance.owner})")


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
