"""What is found while files become a change: problems that refuse it, warnings, and what becomes of each document."""

from typing import Literal

import msgspec

from holdfast_protocol.errors import Problem

Action = Literal["created", "changed", "unchanged"]


class Result(msgspec.Struct, frozen=True):
    """What applying does to one document. `revision` is a blueprint's; None for anything else."""

    kind: str
    name: str
    action: Action
    revision: int | None = None


class Findings:
    """Collects; `warn` makes a warning of a problem."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.results: list[Result] = []

    def warn(self, problem: Problem) -> None:
        self.warnings.append(msgspec.structs.replace(problem, severity="warning"))
