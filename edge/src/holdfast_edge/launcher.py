"""Launcher: starts the agent from the slot that counts, and goes back to the other slot when a new version is not healthy.

Copied beside the slots when they are made and never changed by an upgrade: it must work when the new version does not. So
it uses nothing but Python's own library, and nothing of this package.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from typing import Any, Final, NoReturn

UNIT: Final = "holdfast-edge.service"
TRIES: Final = 3  # starts of a version that is not known to be healthy
GUARD: Final = "holdfast-edge-upgrade"  # begins the names of timers that go back
BEFORE: Final = "before"  # the folder with copies of the databases
ENVIRONMENT: Final = "HOLDFAST_EDGE_SLOTS"  # names the folder of slots to the agent that was started from one


def main(words: list[str]) -> int:
    """`run ...` starts the agent with those words; `fall-back ID` is what the guard of an upgrade starts."""
    folder = os.path.dirname(os.path.abspath(__file__))
    return fall_back_if(folder, words[1]) if words[:1] == ["fall-back"] else start(folder, words)


def start(folder: str, words: list[str]) -> NoReturn:
    """Become the agent of the slot that counts."""
    count_start(folder)
    slot = os.path.realpath(os.path.join(folder, "current"))
    said = read(os.path.join(slot, "slot.json"))
    environ = dict(os.environ, **{ENVIRONMENT: folder})
    library = os.path.join(slot, "lib")
    if os.path.isdir(library):
        environ["PYTHONPATH"] = library
    os.execve(said["python"], [said["python"], "-m", "holdfast_edge.cli.main", *words], environ)  # noqa: S606 (becomes it)


def count_start(folder: str) -> None:
    """Count a start of a version on trial; go back when it has had its tries, in whatever boot."""
    pending = read(os.path.join(folder, "pending.json"))
    if not pending:
        return
    if current(folder) != pending["to"]:
        remove(os.path.join(folder, "pending.json"))  # the way back, or the way there, was cut off: the old one counts
        return
    if pending.get("back"):
        fall_back(folder, pending, pending["back"])  # this was cut off before all was put back
        return
    pending["tries"] = pending.get("tries", 0) + 1
    if pending["tries"] > TRIES:
        fall_back(folder, pending, f"it was started {TRIES} times and never was healthy")
    else:
        write(os.path.join(folder, "pending.json"), pending)
        if pending["tries"] > 1:
            guard_again(folder, pending)


def guard_again(folder: str, pending: dict[str, Any]) -> None:
    """Have somebody go back in time once more: after a boot the timer of the switch is gone. One too many does nothing."""
    unit = f"--unit={GUARD}-{pending['id']}-{pending['tries']}"
    when = [f"--on-active={pending['within']}s", "--timer-property=AccuracySec=1s"]
    what = [sys.executable, os.path.join(folder, "launch.py"), "fall-back", pending["id"]]
    with suppress(OSError, subprocess.TimeoutExpired):  # the starts are counted all the same
        words = ["systemd-run", "--quiet", "--collect", "--no-block", unit, *when, "--", *what]
        subprocess.run(words, check=False, stdin=subprocess.DEVNULL, timeout=30.0)


def fall_back_if(folder: str, name: str) -> int:
    """Go back when the upgrade of that id is still on trial: its time is over."""
    pending = read(os.path.join(folder, "pending.json"))
    if not pending or pending["id"] != name:
        return 0
    systemctl("stop", UNIT)
    pending = read(os.path.join(folder, "pending.json"))
    if pending and pending["id"] == name and current(folder) == pending["to"]:
        fall_back(folder, pending, f"it was not healthy within {pending['within']} s")
    systemctl("reset-failed", UNIT)
    return systemctl("start", UNIT)


def fall_back(folder: str, pending: dict[str, Any], why: str) -> None:
    """Make the old slot the one that counts. The agent does not run. May be cut off anywhere and begun again."""
    failed = read(os.path.join(folder, "failed.json"))
    failed[pending["version"]] = {"why": why, "digest": pending["digest"]}
    write(os.path.join(folder, "failed.json"), failed)
    before = os.path.join(folder, BEFORE)
    copies = [os.path.join(place, name) for place, _, names in os.walk(before) for name in names]
    databases = {copy: os.path.join(os.path.dirname(folder), os.path.relpath(copy, before)) for copy in copies}
    if not pending.get("back"):
        for database in databases.values():
            remove(database + ".back")  # of another time
        write(os.path.join(folder, "pending.json"), {**pending, "back": why})
    for copy, database in databases.items():
        restore(copy, database)
    point(folder, pending["from"])
    remove(os.path.join(folder, "pending.json"))


def restore(copy: str, database: str) -> None:
    """Put a copy back, when the new version has changed the schema to one the old version does not know. Once the copy is
    there whole, as `.back`, that is settled: without its log, or with another's, the database could tell anything."""
    place, back = os.path.dirname(database), database + ".back"
    if not os.path.exists(back):
        if schema(database) <= schema(copy):
            return
        os.makedirs(place, mode=0o700, exist_ok=True)
        shutil.copy2(copy, back + ".new")
        with open(back + ".new", "rb") as file:
            os.fsync(file.fileno())
        os.replace(back + ".new", back)
        synced(place)
    for suffix in ("-wal", "-shm"):
        remove(database + suffix)
    synced(place)
    os.replace(back, database)
    synced(place)


def schema(database: str) -> int:
    if not os.path.exists(database):
        return 0
    try:
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return 1 << 30  # damaged: the copy is better


def current(folder: str) -> str:
    return os.path.basename(os.path.realpath(os.path.join(folder, "current")))


def point(folder: str, slot: str) -> None:
    """Let `current` name a slot, at once or not at all."""
    beside = os.path.join(folder, ".current")
    remove(beside)
    os.symlink(slot, beside)
    os.replace(beside, os.path.join(folder, "current"))
    synced(folder)


def read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: str, value: dict[str, Any]) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    synced(os.path.dirname(path))


def remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)


def synced(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def systemctl(*words: str) -> int:
    return subprocess.run(["systemctl", *words], check=False, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
