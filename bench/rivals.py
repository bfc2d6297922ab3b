"""The tools a user would pick instead, in the same run on the same machine: a booted one for the 200 resources of
`bench/mixed.py` (120 files, 40 kernel settings of its own network, 40 units), a Docker engine for three containers.

A pass that finds all 200 as wanted. Ours: one turn of the loop in a running agent, which looks at content, mode and owner
of files, at settings live and on disk, at units' files and, through systemd, whether they are loaded, enabled and active.
Floor: a bare Python loop, warm in the same process and in turns with ours, that opens, reads and compares the 120 files, 40
settings and 40 unit files and asks systemd nothing. pyinfra and ansible-core (`bench/rival_tools.py`) look at files,
settings (pyinfra: live; ansible: live and its file) and at the units' files as templates; each pass is a process, as they
are used, and `new_process_s` is what our agent needs for its start with a first look. After each first pass all 200 are
verified, after each pass that should do nothing that no file was written. ansible-core runs one such pass, pyinfra three.

`deploy_vs_engine` is the worst of the three network modes of `bench/deployment.py`.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import deployment, mixed, rival_tools
from bench.report import Figure, median
from bench.rival_tools import Tool
from support import machines
from support.machines import Machine

ROOT: Final = Path(__file__).resolve().parents[1]
HERE: Final = "/srv/rivals"  # in the machine
PYINFRA_PASSES, ANSIBLE_PASSES, STARTS = 3, 1, 3
WITHIN: Final = 900.0  # seconds for one pass


def run() -> list[Figure]:
    return [*_passes(), *_deployments()]


def _passes() -> list[Figure]:
    if why := machines.why_not():
        raise SystemExit(f"rivals: {why}")
    tools = rival_tools.installed()
    with machines.lab() as lab:
        (machine,) = lab.boot("press-01")
        for name, text in rival_tools.given().items():
            machine.write(f"{HERE}/{name}", text)
        _inside(machine, "reset")
        ours = _inside(machine, "ours")
        _verify(_inside(machine, "state"), "ours")
        starts = [_started(machine) for _ in range(STARTS)]
        pyinfra = _rival(machine, rival_tools.pyinfra(tools, ROOT), PYINFRA_PASSES)
        ansible = _rival(machine, rival_tools.ansible(tools), ANSIBLE_PASSES)
    wall, floor = statistics.median(ours["wall"]), statistics.median(ours["floor"])
    return [
        Figure("noop_vs_floor", round(wall / floor, 2), "ours / bare loop", "< 2.5"),
        Figure("noop_vs_pyinfra", round(statistics.median(pyinfra.noop) / wall), "pyinfra / ours", "> 30"),
        Figure("noop_vs_ansible", round(statistics.median(ansible.noop) / wall), "ansible-core / ours", "> 500"),
        Figure("noop_ms", round(wall * 1000, 2), f"ms (median of {len(ours['wall'])})"),
        Figure("noop_cpu_ms", median([each * 1000 for each in ours["cpu"]], 2), "ms"),
        Figure("floor_ms", round(floor * 1000, 2), f"ms (median of {len(ours['floor'])})"),
        Figure("pyinfra_noop_s", median(pyinfra.noop), f"s (n={len(pyinfra.noop)})"),
        Figure("pyinfra_noop_cpu_s", median(pyinfra.cpu), "s"),
        Figure("ansible_noop_s", median(ansible.noop), f"s (n={len(ansible.noop)})"),
        Figure("ansible_noop_cpu_s", median(ansible.cpu), "s"),
        Figure("new_process_s", median(starts), "s"),
        Figure("first_s", round(ours["first"], 3), "s (units enabled and started)"),
        Figure("pyinfra_first_s", round(pyinfra.first, 3), "s (units' files only)"),
        Figure("ansible_first_s", round(ansible.first, 3), "s (units' files only)"),
    ]


class _Rival(NamedTuple):
    first: float
    noop: list[float]
    cpu: list[float]


def _rival(machine: Machine, tool: Tool, passes: int) -> _Rival:
    _inside(machine, "reset")
    first, _ = _pass(machine, tool)
    done = _inside(machine, "state")
    _verify(done, tool.words[0])
    took, used = [], []
    for _ in range(passes):
        wall, cpu = _pass(machine, tool)
        took.append(wall)
        used.append(cpu)
        if _inside(machine, "state") != done:
            raise RuntimeError(f"{tool.words[0]} wrote again what was as wanted")
    return _Rival(first, took, used)


def _pass(machine: Machine, tool: Tool) -> tuple[float, float]:
    """Return the wall and CPU seconds of one pass."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environ = [f"{key}={value}" for key, value in tool.environ.items()]
    machine.run(["env", "-C", HERE, *environ, *tool.words], timeout=WITHIN)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return ended - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _verify(state: dict[str, Any], who: str) -> None:
    right = (state["files"], state["settings"], state["units"])
    if right != (mixed.FILES, mixed.SETTINGS, mixed.UNITS):
        raise RuntimeError(f"after {who} only {right} are as wanted")


def _inside(machine: Machine, verb: str) -> Any:
    words = ["env", f"PYTHONPATH={ROOT}:{ROOT}/tests", sys.executable, "-m", "bench.mixed_inside", verb]
    return json.loads(machine.run(words, timeout=WITHIN).stdout or "null")


def _started(machine: Machine) -> float:
    began = time.perf_counter()
    _inside(machine, "start")
    return time.perf_counter() - began


def _deployments() -> list[Figure]:
    every = deployment.measured()
    ratios = {mode: statistics.median(ours) / statistics.median(bare) for mode, (ours, bare) in every.items()}
    worst = max(ratios, key=ratios.__getitem__)
    figures = [Figure("deploy_vs_engine", round(ratios[worst], 2), f"ours / bare calls ({worst})", "< 1.3")]
    for mode, (ours, bare) in every.items():
        figures += [
            Figure(f"deploy_{mode}_s", median(ours), "s"),
            Figure(f"engine_{mode}_s", median(bare), "s"),
        ]
    return figures
