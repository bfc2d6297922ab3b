"""Facts of a machine laid out in a folder."""

from pathlib import Path

from holdfast_edge.sensors.facts import facts


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
