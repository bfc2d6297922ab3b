"""Sites that are real machines: systemd as PID 1, a D-Bus, a container engine and a cable of their own."""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.commands import EDGE
from demo.sites import IMAGES, MOSQUITTO, REPOSITORY, Place, Site
from holdfast_protocol.runtime.broker import configuration
from support import images, machines
from support.machines import Machine
from support.waiting import until

BROKER_PORT = 1883
_BROKER = f"""\
[Unit]
Description=The site's own broker
[Service]
StateDirectory=site-broker
StateDirectoryMode=0700
User=mosquitto
ExecStart={MOSQUITTO} -c /etc/site-broker.conf
Restart=always
[Install]
WantedBy=multi-user.target
"""
_AGENT = f"""\
[Unit]
Description=Holdfast agent
After=docker.service site-broker.service
StartLimitIntervalSec=0
[Service]
ExecStart={EDGE} run --config /etc/holdfast/edge.toml
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
_DEVICES = """\
[Unit]
Description=The site's devices
After=site-broker.service
[Service]
ExecStart={program}
Restart=on-failure
"""
_SENT = "/var/lib/devices/sent.json"


@dataclass(frozen=True)
class BootedSite:
    machine: Machine
    lacks: Sequence[str] = ()
    kinds: frozenset[str] = frozenset({"Deployment", "SystemdService", "File"})

    @property
    def name(self) -> str:
        return self.machine.name

    def prepare(self) -> None:
        """Give the site its images and its broker."""
        for image in IMAGES:
            images.load(self.machine, image, {"/etc/model": f"{image}\n"})
        folder = Path("/var/lib/site-broker")
        config = configuration("site.conf", listen="127.0.0.1", port=BROKER_PORT, folder=folder, user="mosquitto")
        self.machine.write("/etc/site-broker.conf", config)
        self.machine.start_unit("site-broker.service", _BROKER)

    @property
    def kit_options(self) -> Sequence[str]:
        devices = ["--devices", f"127.0.0.1:{BROKER_PORT}"]
        return ["--file-root", "/srv", "--engine", "unix:///run/docker.sock", "--systemd", "system", *devices]

    def join(self, kit_folder: Path) -> None:
        for file in kit_folder.iterdir():
            self.machine.write(f"/etc/holdfast/{file.name}", file.read_bytes(), mode=0o600)
        self.machine.start_unit("holdfast-edge.service", _AGENT)

    def start_devices(self, devices: Sequence[str], every_ms: float) -> None:
        names = [word for device in devices for word in ("--device", device)]
        program = [sys.executable, str(REPOSITORY / "demo/device.py"), "--port", str(BROKER_PORT)]
        program += ["--every-ms", str(every_ms), "--sent", _SENT, *names]
        self.machine.start_unit("devices.service", _DEVICES.format(program=" ".join(program)))

    def stop_devices(self) -> dict[str, int]:
        self.machine.run(["systemctl", "stop", "devices.service"])
        sent: dict[str, int] = json.loads(self.machine.read(_SENT))
        return sent

    def containers(self) -> list[str]:
        ids = self.machine.run(["docker", "ps", "--quiet", "--no-trunc"]).stdout.split()
        if not ids:
            return []
        shown = self.machine.run(["docker", "inspect", "--format", "{{json .}}", *ids], check=False).stdout
        found = []
        for line in filter(None, shown.splitlines()):  # an empty one for a container gone meanwhile
            each = json.loads(line)
            threshold = next((e.partition("=")[2] for e in each["Config"]["Env"] if e.startswith("THRESHOLD=")), "")
            found.append(f"{each['Id'][:12]} {each['Config']['Image']} {threshold}")
        return found

    def remove_container(self, container: str) -> None:
        self.machine.run(["docker", "rm", "--force", container])

    def unit_active(self, unit: str) -> bool:
        return self.machine.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0

    def stop_unit(self, unit: str) -> None:
        self.machine.run(["systemctl", "stop", unit])

    def read(self, path: str) -> str:
        return self.machine.read(path)

    def exists(self, path: str) -> bool:
        return self.machine.exists(path)

    def write(self, path: str, content: str) -> None:
        self.machine.write(path, content)

    def cut(self) -> None:
        self.machine.cut()

    def restore(self) -> None:
        self.machine.restore()

    def agent_log(self) -> str:
        return self.machine.journal("holdfast-edge.service", 30)

    def way_in(self) -> str:
        return f"nsenter -t {self.machine.leader} -a -- bash --login"


@dataclass(frozen=True)
class BootedGround:
    lab: machines.Lab
    words: str = "real machines: systemd as PID 1, own D-Bus, own container engine, own cable"
    hub_port: int = 1883

    @property
    def hub_address(self) -> str:
        return self.lab.hub_address()

    def boot(self, places: Sequence[Place]) -> list[Site]:
        sites = [BootedSite(machine) for machine in self.lab.boot(*(place.name for place in places))]
        with ThreadPoolExecutor(len(sites)) as threads:
            list(threads.map(BootedSite.prepare, sites))
        for site in sites:
            until(lambda site=site: site.unit_active("site-broker.service"), 10, f"{site.name}'s broker")  # type: ignore[misc]
        return list(sites)


@contextmanager
def booted_ground() -> Iterator[BootedGround]:
    with machines.lab() as lab:
        yield BootedGround(lab)
