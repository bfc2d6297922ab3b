"""A look at 200 resources that are all as wanted: 160 files and 40 units of a real systemd, CPU of the whole agent's pass."""

import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from bench.report import Figure, median
from holdfast_edge.providers.offers import equip
from holdfast_edge.providers.registry import Registry
from holdfast_protocol.kinds.way import Way
from support import builders, loop, user_systemd

FILES, UNITS, LOOKS = 160, 40, 25


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "systemd").mkdir()
        (folder / "root").mkdir()
        with user_systemd.running(folder / "systemd") as systemd:
            cpu, wall = anyio.run(_measured, folder, systemd.environ)
    return [
        Figure("noop_200_cpu_ms", median(cpu), "ms", "< 50"),
        Figure("noop_200_wall_ms", median(wall), "ms"),
    ]


def _bodies(root: Path) -> list[dict[str, Any]]:
    files = [
        builders.file_body(f"f{n}", f"{root}/d{n % 8}/f{n}", f"content {n}\n" * 20, mode="0644") for n in range(FILES)
    ]
    units = [
        {
            "apiVersion": "holdfast.io/v1alpha1",
            "kind": "SystemdService",
            "metadata": {"name": f"unit{n}"},
            "spec": {"unit": f"[Unit]\nDescription=unit {n}\n[Service]\nExecStart=/bin/sleep infinity\n"},
        }
        for n in range(UNITS)
    ]
    for unit in units:
        unit["spec"]["enabled"] = False  # type: ignore[index]
    return files + units


async def _measured(folder: Path, environ: dict[str, str]) -> tuple[list[float], list[float]]:
    chosen = _registry(folder, environ)
    site = loop.site_of(folder / "state", chosen)
    await loop.give(site, _bodies(folder / "root"))
    async with loop.running(site, chosen):
        await loop.reaches(site, "Converged", 1, 120)
    cpu, wall = [], []
    async with loop.watched(site, chosen) as group:
        for _ in range(LOOKS):
            began, used = time.perf_counter(), time.process_time()
            view = await loop.turn(site, group)
            cpu.append((time.process_time() - used) * 1000)
            wall.append((time.perf_counter() - began) * 1000)
            assert not view.plan
            assert len(view.observed) == FILES + UNITS
    await loop.closed(site, chosen)
    return cpu, wall


def _registry(folder: Path, environ: dict[str, str]) -> Registry:
    (folder / "state").mkdir()
    return equip(
        file_roots=[str(folder / "root")],
        engine="",
        host_paths=(),
        privileged=False,
        systemd="user",
        kernel=False,
        network=False,
        machine=False,
        hub=Way("127.0.0.1", 1883),
        site=builders.SITE,
        state=folder / "state",
        denied=(),
        environ=environ,
    )
