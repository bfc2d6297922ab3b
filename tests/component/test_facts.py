"""Facts of a machine laid out in a folder."""

import subprocess
import sys
from pathlib import Path

from holdfast_edge.sensors.facts import facts
from holdfast_protocol.wire.labels import is_label_key, is_label_value


def test_facts_are_read_from_the_machine(tmp_path: Path) -> None:
    for name in ("etc", "proc", "run/systemd/system"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:        4030344 kB\n")
    (tmp_path / "run/docker.sock").touch()
    found = facts("unix:///run/docker.sock", tmp_path)
    assert (found["os"], found["os-version"], found["memory-mb"], found["engine"]) == ("debian", "12", "3935", "yes")
    assert "0123456789abcdef" not in found["machine"]
    assert len(found["machine"]) == 32
    assert facts("", tmp_path)["machine"] == found["machine"]
    assert facts("", tmp_path)["engine"] == "no"


def test_a_machine_that_tells_nothing_has_few_facts_and_no_empty_ones(tmp_path: Path) -> None:
    found = facts(root=tmp_path)
    assert {"arch", "kernel", "cpus", "hostname"} <= found.keys()
    assert "machine" not in found
    assert all(found.values())


def test_whether_expressions_can_be_evaluated_is_told_without_importing_what_does_it() -> None:
    script = "import sys; from holdfast_edge.sensors.facts import facts; "
    script += "print(facts()['expressions'], 'cel_expr_python' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["yes", "False"]
    hidden = script.replace("import sys;", "import sys; sys.modules['cel_expr_python'] = None;")
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "no"


def test_the_hardware_is_told_so_that_a_selector_can_ask_for_it(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("sys/class/dmi/id/product_name", "SIMATIC IPC127E (rev. 2)\n")
    write("sys/class/dmi/id/sys_vendor", "SIEMENS AG\n")
    write("sys/class/tpm/tpm0/tpm_version_major", "2\n")
    write("proc/cpuinfo", "flags\t\t: fpu vme\n")
    write("proc/meminfo", "MemTotal: 900000 kB\n")
    write("usr/lib/systemd/libsystemd-shared-252.so", "")
    for name, sectors, turns in (("sda", "1000215216", "0"), ("sdb", "3907029168", "1"), ("loop0", "8", "0")):
        write(f"sys/block/{name}/size", f"{sectors}\n")
        write(f"sys/block/{name}/queue/rotational", f"{turns}\n")
    for number in range(12):
        write(f"sys/class/net/enp{number}s0/address", f"02:00:00:00:00:{number:02x}\n")
    write("sys/class/net/veth1234/address", "02:00:00:00:01:00\n")
    found = facts(root=tmp_path)
    assert found["hardware"] == "SIMATIC-IPC127E-rev.-2"
    assert (found["vendor"], found["tpm"], found["virtualisation"]) == ("SIEMENS-AG", "2", "none")
    assert (found["profile"], found["systemd-version"]) == ("mini", "252")
    assert {name: value for name, value in found.items() if name.startswith("disk")} == {
        "disks": "2",
        "disk-sda-gb": "512",
        "disk-sda-rotational": "no",
        "disk-sdb-gb": "2000",
        "disk-sdb-rotational": "yes",
    }
    assert found["interfaces"] == "12"
    assert found["net-enp0s0"] == "02-00-00-00-00-00"
    assert len([name for name in found if name.startswith("net-")]) == 8
    assert all(is_label_value(value) and is_label_key(name) for name, value in found.items())
    assert len(found) <= 64
    assert facts(root=tmp_path, profile="standard")["profile"] == "standard"


def test_a_machine_in_a_container_or_on_a_hypervisor_says_so(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags : fpu hypervisor\n")
    assert facts(root=tmp_path)["virtualisation"] == "other"
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/container").write_text("systemd-nspawn\n")
    assert facts(root=tmp_path)["virtualisation"] == "systemd-nspawn"
