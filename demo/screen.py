"""What a person sees: steps with their checks as they happen, and a summary at the end."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from support.waiting import until

T = TypeVar("T")


class NotVerified(RuntimeError):
    """A step did not do what it was to show."""


@dataclass
class Step:
    """One step of the story; it counts as verified when every check of it held."""

    title: str
    console: Console
    checks: list[str] = field(default_factory=list)
    verified: bool = False
    problem: str = ""
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        self.console.print(f"    [dim]{escape(text)}[/]")

    def show(self, text: str) -> None:
        """Print somebody else's output, a difference coloured."""
        for line in text.rstrip().splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
            self.console.print(Text(f"    {line}", style=style), soft_wrap=True)

    def check(self, held: bool, text: str, otherwise: str = "") -> None:
        """Record that something was looked at and was so; NotVerified when it was not."""
        if not held:
            raise NotVerified(f"not so: {text}{f' ({otherwise})' if otherwise else ''}")
        self.checks.append(text)
        self.console.print(f"  [green]✓[/] {escape(text)} [dim]{self.clock()}[/]")

    def wait(self, probe: Callable[[], T], within: float, text: str) -> float:
        """Wait for something, then record it; returns the seconds it took."""
        began = time.monotonic()
        with self.console.status(escape(text)):
            until(probe, within, text)
        took = time.monotonic() - began
        self.check(True, f"{text}: {took:.2f} s")
        return took

    def clock(self) -> str:
        return f"+{time.monotonic() - self._began:.1f} s"


class Screen:
    """The steps so far. `to_stderr` keeps standard output for the summary as JSON."""

    def __init__(self, *, to_stderr: bool) -> None:
        self.console = Console(stderr=to_stderr, highlight=False)
        self.steps: list[Step] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run one step; what goes wrong in it is shown, kept, and ends the story."""
        step = Step(title, self.console)
        self.steps.append(step)
        self.console.print(f"\n[bold]{len(self.steps)}. {escape(title)}[/]")
        began = time.monotonic()
        try:
            yield step
            step.verified = bool(step.checks)
        except BaseException as error:
            step.problem = "\n".join([str(error) or type(error).__name__, *getattr(error, "__notes__", ())])
            self.console.print(f"  [red]✗ {escape(step.problem)}[/]")
            raise
        finally:
            step.seconds = time.monotonic() - began

    @contextmanager
    def taking_down(self) -> Iterator[None]:
        """Around everything that has to be taken down: say so when it is done."""
        yield
        self.console.print("[dim]taken down: sites, hub, links, files[/]")

    def failed(self, error: BaseException, logs: Mapping[str, str]) -> None:
        """Show what ended the story, with the last words of everybody in it."""
        if not self.steps or not self.steps[-1].problem:
            self.console.print(f"[red]{escape(str(error))}[/]")
        for name, words in logs.items():
            self.console.print(f"\n[bold]{escape(name)}[/] [dim]said last:[/]")
            self.console.print(Text(words.strip(), style="dim"), soft_wrap=True)

    @property
    def verified(self) -> bool:
        return bool(self.steps) and all(step.verified for step in self.steps)

    def summary(self, **more: Any) -> dict[str, Any]:
        """Return the whole story as one JSON object."""
        return {
            "verified": self.verified,
            "seconds": round(time.monotonic() - self._began, 1),
            **more,
            "steps": [
                {
                    "title": step.title,
                    "verified": step.verified,
                    "seconds": round(step.seconds, 2),
                    "checks": step.checks,
                    "figures": {name: round(value, 3) for name, value in step.figures.items()},
                    **({"problem": step.problem} if step.problem else {}),
                }
                for step in self.steps
            ],
        }

    def show_summary(self) -> None:
        table = Table(title="Holdfast, shown", title_justify="left", show_lines=False)
        table.add_column("step")
        table.add_column("checks", justify="right")
        table.add_column("seconds", justify="right")
        table.add_column("figures")
        for step in self.steps:
            mark = "[green]✓[/]" if step.verified else "[red]✗[/]"
            figures = ", ".join(f"{name} {value:,.4g}" for name, value in step.figures.items())
            table.add_row(f"{mark} {escape(step.title)}", str(len(step.checks)), f"{step.seconds:.1f}", escape(figures))
        self.console.print()
        self.console.print(table)
        said = "[green]every step verified[/]" if self.verified else "[red]not every step was verified[/]"
        self.console.print(f"{said} in {time.monotonic() - self._began:.1f} s")
