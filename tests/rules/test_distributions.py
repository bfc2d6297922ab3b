"""A device installs from one folder of wheels, and the wheels exist for the machines we name."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run([str(ROOT / "scripts/build"), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.timeout(300)
def test_a_device_installs_the_agent_from_the_folder_with_no_index(wheels: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "device", with_pip=True)
    python = tmp_path / "device/bin/python"
    install = ["-m", "pip", "-q", "install", "--no-index", "--find-links", str(wheels), "holdfast-edge"]
    subprocess.run([python, *install], check=True, capture_output=True)
    shown = subprocess.run(
        [tmp_path / "device/bin/holdfast-edge", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "status" in shown.stdout
    hub = subprocess.run([python, "-c", "import holdfast_hub"], capture_output=True, text=True, cwd=tmp_path)
    assert "ModuleNotFoundError" in hub.stderr, "the hub must not be on a device"
    agent = subprocess.run([python, "-c", "import holdfast_edge.agent"], capture_output=True, text=True, cwd=tmp_path)
    assert agent.returncode == 0, agent.stderr


@pytest.mark.parametrize("member", ["protocol", "edge", "hub[kafka,nats,otlp,parquet,postgresql,telemetry]"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.timeout(300)
def test_dependencies_resolve_from_wheels_alone(machine: str, member: str, wheels: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 17)] + [
        f"--platform=manylinux2014_{machine}"
    ]
    asked = [*PIP, "install", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--target", str(tmp_path / "t")]
    asked += [*platforms, "--python-version=3.11", "--implementation=cp", "--find-links", str(wheels)]
    asked += ["-c", str(ROOT / "constraints.txt"), "--report", str(report), f"holdfast-{member}"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {entry["metadata"]["name"].lower() for entry in json.loads(report.read_text())["install"]}
    assert {f"holdfast-{member.partition('[')[0]}", "msgspec", "cryptography", "paho-mqtt"} <= names
