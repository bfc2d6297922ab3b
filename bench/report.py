"""Figures of a benchmark: what was measured, what was wanted, on which machine."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    """One number. `goal` reads like "< 150" or "> 100000"; "" for a rival's or a plain fact."""

    name: str
    value: float
    unit: str
    goal: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None when there is none."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value < float(bound) if sign == "<" else self.value > float(bound)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "unit": self.unit, "goal": self.goal, "met": self.met}


def median(values: Sequence[float], digits: int = 3) -> float:
    """Return the median, rounded for people."""
    return round(statistics.median(values), digits)


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("model name", "Hardware"))
        ),
        platform.machine(),
    )
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": int(memory.split()[1]) // 1024,
        "arch": platform.machine(),
        "os": release.get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def as_json(name: str, figures: Sequence[Figure]) -> str:
    return json.dumps({"bench": name, "machine": machine(), "figures": [figure.as_json() for figure in figures]})


def show(name: str, figures: Sequence[Figure]) -> None:
    """Print the figures as a table for people."""
    table = Table(title=f"bench {name}", title_justify="left")
    for title in ("figure", "value", "unit", "goal", "met"):
        table.add_column(title, justify="right" if title == "value" else "left")
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "NO"
        table.add_row(figure.name, f"{figure.value:,.6g}", figure.unit, figure.goal, met)
    console = Console()
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), style="dim")
