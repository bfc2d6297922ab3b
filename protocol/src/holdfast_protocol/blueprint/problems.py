"""Problems: everything wrong with a document, collected before any of it is refused."""

from typing import Final, Generic, TypeVar

import msgspec

from holdfast_protocol.blueprint.documents import Document, Path
from holdfast_protocol.errors import InputError, Problem

T = TypeVar("T")
MAX_PROBLEMS: Final = 100


class Checked(msgspec.Struct, Generic[T], frozen=True):
    """What was accepted, and what its author should still know."""

    value: T
    warnings: tuple[Problem, ...] = ()


class Problems:
    """The problems of one document; `at` prefixes every path added."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = list(document.warnings)
        self._more = 0

    def add(self, path: Path, message: str, *, hint: str = "", at_key: bool = False, offset: int = -1) -> None:
        """Add an error at the value of `path`, at its key, or at character `offset` of its text."""
        if len(self.errors) >= MAX_PROBLEMS:
            self._more += 1
            return
        problem = self.document.problem(path, message, hint=hint, at_key=at_key)
        if offset >= 0:
            line, column = self.document.place_in(path, offset)
            problem = msgspec.structs.replace(problem, line=line, column=column)
        self.errors.append(problem)

    def warn(self, path: Path, message: str, *, hint: str = "") -> None:
        problem = self.document.problem(path, message, hint=hint)
        self.warnings.append(msgspec.structs.replace(problem, severity="warning"))

    def check(self) -> None:
        """Raise InputError when there is any error."""
        if self.errors:
            more = [Problem(f"and {self._more} more problems", self.document.file)] if self._more else []
            raise InputError([*self.errors, *more])
