"""The agent upgraded by a target on a real booted machine: a good version stays, one that crashes and one that never gets
healthy are gone back from by what needs neither of them."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.booted import Booted, booted
from support.fleet import BIN
from support.slots import bring_wheels, start_agent
from support.waiting import HANGS_S, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.invariant("agent-is-never-its-own-casualty"),
]
CRASHES = "async def run_agent(settings, config):\n    raise SystemExit('broken')\n"
HANGS = """\
from pathlib import Path
import anyio
from holdfast_edge.store.edge import open_edge
async def run_agent(settings, config):
    open_edge(Path(settings.state_dir))
    await anyio.sleep_forever()
"""
SCHEMA = "CREATE TABLE of_a_newer_version (x INTEGER);\n"


@pytest.fixture(scope="module")
def site() -> Iterator[Booted]:
    with tempfile.TemporaryDirectory(prefix="hf-") as name, booted(Path(name), "press-01", "--file-root", "/srv") as it:
        machine = it.machine
        text = machine.read("/etc/holdfast/edge.toml").replace("rollback = false", "rollback = true")
        machine.write("/etc/holdfast/edge.toml", text, mode=0o600)
        start_agent(machine)
        it.give(motd("1"), version("0.1.0", "good"))
        it.settled()
        yield it


def motd(text: str) -> dict[str, Any]:
    return {"kind": "File", "name": "motd", "spec": {"path": "/srv/motd", "content": text}}


def version(number: str, folder: str) -> dict[str, Any]:
    spec = {"version": number, "wheels": f"/opt/wheels/{folder}", "deadlineSeconds": 15}
    return {"kind": "AgentVersion", "name": "agent", "spec": spec}


def runs(site: Booted) -> str:
    """Return the version that the hub hears from."""
    said = site.hub.call("get", "nodes", "-o", "json").json["items"]
    return str(said[0].get("agent", "")) if said else ""


def slot(site: Booted) -> str:
    return site.machine.run(["readlink", "/var/lib/holdfast/slots/current"]).stdout.strip()


def schema(site: Booted) -> int:
    program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version').fetchone()[0])"
    return int(site.machine.run([str(BIN / "python"), "-c", program, "/var/lib/holdfast/edge.db"]).stdout)


def pending(site: Booted) -> bool:
    return site.machine.exists("/var/lib/holdfast/slots/pending.json")


def falls_back(site: Booted, said: str) -> None:
    generation = site.hub.site(site.machine.name)["generation"]

    def told() -> bool:
        progress = site.hub.site(site.machine.name)["progress"]
        found = progress[0] if progress else {}
        there = site.hub.site(site.machine.name)["observed_generation"] == generation
        return bool(there and found.get("phase") in ("rolled-back", "rejected") and re.search(said, found["message"]))

    try:
        until(told, HANGS_S, f"the hub to hear {said}", every=0.3)
    except TimeoutError as error:
        error.add_note(site.hub.call("describe", "site", site.machine.name).out)
        error.add_note(site.machine.journal("holdfast-edge.service", 40))
        raise
    assert not pending(site)


def test_a_good_version_is_installed_beside_started_and_stays(site: Booted) -> None:
    assert (runs(site), slot(site)) == ("0.1.0", "a")
    bring_wheels(site.machine, "good", "0.2.0")
    site.give(motd("2"), version("0.2.0", "good"))
    until(lambda: runs(site) == "0.2.0", HANGS_S, "the new version at the hub")
    site.settled()
    assert (slot(site), pending(site)) == ("b", False)
    assert site.machine.read("/srv/motd") == "2"


def test_a_version_that_crashes_at_start_is_gone_back_from_by_the_launcher(site: Booted) -> None:
    bring_wheels(site.machine, "crashes", "0.3.0", agent=CRASHES)
    site.give(motd("3"), version("0.3.0", "crashes"))
    falls_back(site, r"0\.3\.0 was gone back from: it was started 3 times")
    assert (runs(site), slot(site)) == ("0.2.0", "b")


def test_a_version_that_never_gets_healthy_is_gone_back_from_by_the_guard(site: Booted) -> None:
    before = schema(site)
    bring_wheels(site.machine, "hangs", "0.4.0", agent=HANGS, steps=SCHEMA)
    site.give(motd("4"), version("0.4.0", "hangs"))
    until(lambda: schema(site) == before + 1, HANGS_S, "the new version to change the database")
    falls_back(site, r"0\.4\.0 was gone back from: it was not healthy within 15 s")
    assert (runs(site), slot(site)) == ("0.2.0", "b")
    assert schema(site) == before


def test_wheels_that_are_not_what_they_say_are_refused_before_anything_changes(site: Booted) -> None:
    bring_wheels(site.machine, "other", "0.5.0")
    site.give(motd("5"), version("0.6.0", "other"))
    falls_back(site, "the wheels are of version 0.5.0, not 0.6.0")
    assert (runs(site), slot(site)) == ("0.2.0", "b")
