"""A booted machine with an agent of a hub's own, given resources as one instance and told what became of each."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from holdfast_edge.cli.client import ask
from holdfast_edge.cli.exits import CliError
from support import machines
from support.fleet import BIN, Hub, ended
from support.machines import Machine
from support.waiting import BOOTED_S, until

_AGENT = f"""\
[Service]
ExecStart={BIN}/holdfast-edge run --config /etc/holdfast/edge.toml
Restart=always
[Install]
WantedBy=multi-user.target
"""
# Looks that nothing asks for are so rare that a repair in time was told by an event.
_TIMING = "\n[timing]\nlook_every_s = 600.0\nsoak_s = 0.2\n[transaction]\nrollback = false\n"


class Booted:
    """One site on a machine. `give` replaces everything it should be."""

    def __init__(self, machine: Machine, hub: Hub, kit: Path, options: Sequence[str | Path]) -> None:
        self.machine = machine
        self.hub = hub
        self._number = 0
        added = hub.call("site", "add", machine.name, "--kit", kit, *options)
        assert added.status == 0, added.err
        for file in kit.iterdir():
            text = file.read_text() + (_TIMING if file.suffix == ".toml" else "")
            machine.write(f"/etc/holdfast/{file.name}", text, mode=0o600)
        machine.start_unit("holdfast-edge.service", _AGENT)

    def give(self, *resources: dict[str, Any]) -> None:
        """Make these the whole target, each {kind, name, spec} or a whole body; none takes all away."""
        self._number += 1
        bodies = [_body(each) for each in resources]
        blueprint = {
            "apiVersion": "holdfast.io/v1alpha1",
            "kind": "Blueprint",
            "metadata": {"name": "ground"},
            "spec": {
                "schema": {"apiVersion": "v1alpha1", "kind": "Ground", "spec": {}},
                "resources": [{"id": f"r{number}", "template": body} for number, body in enumerate(bodies)],
            },
        }
        instance = {
            "apiVersion": "holdfast.io/v1alpha1",
            "kind": "Ground",
            "metadata": {"name": "ground"},
            "spec": {"placement": {"labelSelector": {}}},
        }
        if not resources:
            self._call("delete", "-y", "instance", "ground")
            return
        self._call("apply", "-f", "-", given=yaml.safe_dump_all([blueprint, instance], sort_keys=False))

    def _call(self, *words: str, given: str = "") -> None:
        done = self.hub.call(*words, given=given)
        assert done.status == 0, done.err

    def settled(self, state: str = "Converged", within: float = BOOTED_S) -> None:
        """Return when the hub sees the site in `state` at its newest target."""

        def there() -> bool:
            site = self.hub.site(self.machine.name)
            return bool(site["state"] == state and site["generation"] == site.get("observed_generation"))

        self._until(there, within, f"the site to be {state}")

    def given_back(self, within: float = BOOTED_S) -> None:
        """Return when nothing is left of what was given."""
        self._until(lambda: not self.resources(), within, "everything to be given back")

    def says(self, key: str, pattern: str, within: float = BOOTED_S) -> dict[str, Any]:
        """Return the condition of a resource once its type, reason or message fits the pattern."""

        def fits() -> dict[str, Any] | None:
            found = self.resources().get(key)
            text = f"{found['type']} {found['reason']} {found.get('message', '')}" if found else ""
            return found if found and re.search(pattern, text) else None

        found = self._until(fits, within, f"{key} to say {pattern}")
        assert isinstance(found, dict)
        return found

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return each resource's condition by key, as the agent itself says it."""
        return {each["key"]: each["condition"] for each in self.status().get("resources", ())}

    def status(self) -> dict[str, Any]:
        """Return the site's status as the agent itself says it, or as it said it last. Asked past its command line while it
        runs, being asked often."""
        try:
            status = ask(self.machine.inside("/var/lib/holdfast"), {"do": "status"})
        except CliError:
            done = self.machine.run([str(BIN / "holdfast-edge"), "status", "-o", "json"], check=False)
            status = json.loads(done.stdout or "{}")
        found: dict[str, Any] = status.get("status") or status
        return found

    def idle(self) -> bool:
        """Return whether the agent, asked now, has nothing to do."""
        return self.machine.run([str(BIN / "holdfast-edge"), "plan"], check=False).returncode == 0

    def _until(self, probe: Any, within: float, what: str) -> object:
        try:
            return until(probe, within, what)
        except TimeoutError as error:
            error.add_note(self.hub.call("describe", "site", self.machine.name).out)
            error.add_note(self.machine.journal("holdfast-edge.service", 40))
            raise


@contextmanager
def booted(folder: Path, name: str, *options: str | Path, before: Any = None) -> Iterator[Booted]:
    """Boot a machine, add it to a hub of its own with these options of `site add`, and start its agent.

    `before(machine)` prepares the machine before its agent starts.
    """
    assert machines.why_not() == ""
    with machines.lab() as lab:
        hub = Hub(folder / "hub", listen=f"{lab.hub_address()}:1883")
        with ended(hub):
            hub.start()
            (machine,) = lab.boot(name)
            hub.ready()
            if before is not None:
                before(machine)
            yield Booted(machine, hub, folder / "kit", options)


def _body(resource: dict[str, Any]) -> dict[str, Any]:
    if "apiVersion" in resource:
        return resource
    metadata = {"name": resource["name"]}
    body = {"apiVersion": "holdfast.io/v1alpha1", "kind": resource["kind"], "metadata": metadata}
    return body | {"spec": resource.get("spec", {})}
