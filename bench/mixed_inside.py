"""Run in a booted machine by `rivals`: `python -m bench.mixed_inside reset|state|ours|start`; the answer is a line of JSON.

reset: nothing of the 200 is there; the folders of the files are. state: how many are right, and what shows that a file was
written again. ours: the agent's loop brings them about and looks, beside the bare loop. start: a new process looks once, with
what `ours` left.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio

from bench import mixed
from holdfast_edge.providers.offers import equip
from holdfast_edge.providers.registry import Registry
from holdfast_edge.reconcile.site import Site, View
from holdfast_protocol.kinds.way import Way
from support import builders, loop

STATE: Final = Path("/var/lib/holdfast-bench")
LOOKS: Final = 101
SETTLED_S: Final = 2.5  # younger files are read at each look: a file system's clock may be that coarse


def reset() -> None:
    units = [each.path.name for each in mixed.units()]
    subprocess.run(["systemctl", "disable", "--now", "--quiet", *units], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(mixed.TOP, ignore_errors=True)
    for text in mixed.files():
        text.path.parent.mkdir(parents=True, exist_ok=True)
    for text in mixed.units():
        text.path.unlink(missing_ok=True)
    for key in mixed.settings():
        mixed.live(key).write_text("0\n")
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def state() -> dict[str, Any]:
    texts = [*mixed.files(), *mixed.units()]
    there = [each for each in texts if each.path.is_file()]
    return {
        "files": sum(map(_is_right, mixed.files())),
        "settings": sum(mixed.live(key).read_text() == f"{value}\n" for key, value in mixed.settings().items()),
        "units": sum(map(_is_right, mixed.units())),
        "written": [[str(each.path), each.path.stat().st_ino, each.path.stat().st_mtime_ns] for each in there],
    }


def _is_right(text: mixed.Text) -> bool:
    try:
        seen = text.path.stat()
        return (text.path.read_text(), seen.st_mode & 0o7777, seen.st_uid) == (text.content, text.mode, 0)
    except FileNotFoundError:
        return False


async def ours() -> dict[str, Any]:
    STATE.mkdir(mode=0o700)
    site, chosen = _agent()
    began = time.perf_counter()
    async with loop.running(site, chosen):
        await loop.give(site, mixed.bodies())
        await loop.reaches(site, "Converged", 1, 300)
    first = time.perf_counter() - began
    units = [each.path.name for each in mixed.units()]
    asked = subprocess.run(["systemctl", "is-active", *units], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["active"] * mixed.UNITS
    await anyio.sleep(SETTLED_S)
    look = floor()
    bare, wall, cpu = [], [], []
    async with loop.watched(site, chosen) as group:
        for _ in range(LOOKS):
            began = time.perf_counter()
            assert look() == 0
            bare.append(time.perf_counter() - began)
            began, used = time.perf_counter(), time.process_time()
            view = await loop.turn(site, group)
            cpu.append(time.process_time() - used)
            wall.append(time.perf_counter() - began)
            _check(view)
    await loop.closed(site, chosen)
    return {"first": first, "wall": wall, "cpu": cpu, "floor": bare}


async def start() -> None:
    site, chosen = _agent()
    async with anyio.create_task_group() as group:
        _check(await loop.turn(site, group))
    await loop.closed(site, chosen)


def _agent() -> tuple[Site, Registry]:
    chosen = equip(
        file_roots=[str(mixed.TOP)],
        engine="",
        host_paths=(),
        privileged=False,
        systemd="system",
        kernel=True,
        network=False,
        machine=False,
        hub=Way("127.0.0.1", 1883),
        site=builders.SITE,
        state=STATE,
        denied=(),
        environ=dict(os.environ),
    )
    return loop.site_of(STATE, chosen), chosen


def _check(view: View) -> None:
    """See that a look was whole and found nothing to do."""
    assert not view.plan
    assert sum(each.as_wanted for each in view.observed.values()) == mixed.FILES + mixed.SETTINGS + mixed.UNITS


def floor() -> Callable[[], int]:
    """Return the bare loop: it reads all 200 and counts what is not as wanted. It asks systemd nothing."""
    texts = [(str(each.path), each.content.encode(), each.mode) for each in (*mixed.files(), *mixed.units())]
    settings = [(str(mixed.live(key)), f"{value}\n".encode()) for key, value in mixed.settings().items()]

    def look() -> int:
        wrong = 0
        for path, content, mode in texts:
            with open(path, "rb") as file:
                seen = os.fstat(file.fileno())
                wrong += file.read() != content or (seen.st_mode & 0o7777, seen.st_uid, seen.st_gid) != (mode, 0, 0)
        for path, value in settings:
            with open(path, "rb") as file:
                wrong += file.read() != value
        return wrong

    return look


def main(verb: str) -> None:
    match verb:
        case "reset":
            reset()
        case "state":
            print(json.dumps(state()))
        case "ours":
            print(json.dumps(anyio.run(ours)))
        case "start":
            anyio.run(start)


if __name__ == "__main__":
    main(sys.argv[1])
