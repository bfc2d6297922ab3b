"""A look at 200 resources that are all as wanted: 160 files and 40 units of a real systemd, CPU of the whole agent's pass."""

import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from bench.report import Figure, median
from holdfast_edge.core.report import Origin
from holdfast_edge.providers import registry
from holdfast_edge.reconcile.assembly import Pace, assemble
from holdfast_edge.reconcile.loop import look, run_reconcile, say
from holdfast_edge.reconcile.site import Site
from holdfast_edge.store.targets import Trust
from holdfast_protocol.kinds.firewall import Way
from holdfast_protocol.runtime.clock import SystemClock, boot_id
from holdfast_protocol.wire import target
from holdfast_protocol.wire.names import NodeName
from support import builders, user_systemd

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
    site = _site(folder, chosen)
    wanted = builders.a_target(*_bodies(folder / "root"))
    await site.targets.accept(wanted, target.seal(wanted, [builders.HUB]), at=0, reason="bench")
    async with anyio.create_task_group() as group:
        group.start_soon(run_reconcile, site)
        with anyio.fail_after(120):
            while site.board.status is None or site.board.status.state != "Converged":
                await anyio.sleep(0.1)
        group.cancel_scope.cancel()
    cpu, wall = [], []
    async with anyio.create_task_group() as group:
        for _ in range(LOOKS):
            began, used = time.perf_counter(), time.process_time()
            view = await look(site, group)
            await say(site, view)
            cpu.append((time.process_time() - used) * 1000)
            wall.append((time.perf_counter() - began) * 1000)
            assert not view.plan
            assert len(view.observed) == FILES + UNITS
    for provider in chosen.providers:
        await provider.close()
    site.database.close()
    return cpu, wall


def _registry(folder: Path, environ: dict[str, str]) -> registry.Registry:
    (folder / "state").mkdir()
    return registry.equip(
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


def _site(folder: Path, chosen: registry.Registry) -> Site:
    origin = Origin(builders.FLEET, builders.SITE, NodeName("node-1"), boot_id())
    trust = Trust(builders.FLEET, builders.SITE, {builders.HUB.keyid: builders.HUB.public}, {builders.HUB.keyid: 1})
    return assemble(folder / "state", origin, trust, chosen, SystemClock(), Pace(), lambda: 0.5)
