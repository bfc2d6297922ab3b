"""An agent that is started from a slot, and wheels of this very code with other versions."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import holdfast_edge
import holdfast_protocol
from support.fleet import BIN
from support.machines import Machine

_UNIT = f"""\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart={BIN}/python /var/lib/holdfast/slots/launch.py run --config /etc/holdfast/edge.toml
Restart=always
RestartSec=0.1
[Install]
WantedBy=multi-user.target
"""


def start_agent(machine: Machine) -> None:
    """Give the machine's agent slots and start it from the first."""
    made = machine.run([str(BIN / "holdfast-edge"), "slots"])
    assert "launch.py run" in made.stdout
    machine.run(["systemctl", "stop", "holdfast-edge.service"])
    machine.start_unit("holdfast-edge.service", _UNIT)


def bring_wheels(machine: Machine, folder: str, number: str, agent: str = "", steps: str = "") -> None:
    """Bring wheels of this very code, with another version, and maybe another agent, to /opt/wheels of the machine."""
    with tempfile.TemporaryDirectory() as name:
        for package in (holdfast_edge, holdfast_protocol):
            place = Path(name) / package.__name__
            shutil.copytree(package.__path__[0], place, ignore=shutil.ignore_patterns("__pycache__"))
        (Path(name) / "holdfast_protocol/__init__.py").write_text(f'VERSION = "{number}"\n')
        if agent:
            (Path(name) / "holdfast_edge/agent.py").write_text(agent)
        if steps:
            place_of_steps = Path(name) / "holdfast_edge/store/schema"
            (place_of_steps / f"{len(list(place_of_steps.glob('*.sql'))) + 1:04d}_newer.sql").write_text(steps)
        for package in ("holdfast_edge", "holdfast_protocol"):
            wheel = Path(name) / f"{package}-{number}-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                for path in sorted((Path(name) / package).rglob("*")):
                    archive.write(path, path.relative_to(name))
            machine.write(f"/opt/wheels/{folder}/{wheel.name}", wheel.read_bytes())
