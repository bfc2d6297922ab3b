"""The machine's own accounts as its files have them: passwd, shadow, group. Blocking, but small: call from a thread."""

from pathlib import Path
from typing import Final

import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_protocol.errors import TransientError

MAX_TEXT: Final = 16 * 1024 * 1024  # bytes of one file
FILES: Final = ("passwd", "shadow", "group")


class Person(msgspec.Struct, frozen=True):
    """One line of passwd with its line of shadow. `password` is None where shadow has no such line."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str
    password: str | None = None
    expires: str = ""  # days since 1970; "": never

    @property
    def locked(self) -> bool:
        """Whether nobody can log in as this one: no password fits, and the account has ended."""
        return (self.password or "").startswith(("!", "*")) and self.expires in {"0", "1"}


class Tables(msgspec.Struct, frozen=True):
    people: dict[str, Person]
    groups: dict[str, int]  # numbers by name
    members: dict[str, frozenset[str]]  # names by group

    def name_of(self, gid: int) -> str:
        return next((name for name, number in self.groups.items() if number == gid), "")

    def groups_of(self, name: str) -> frozenset[str]:
        """Return the groups that list this name."""
        return frozenset(group for group, members in self.members.items() if name in members)


def read(etc: Path) -> Tables:
    """Return what the files say now. Lines that say nothing are passed over; TransientError: Unreadable."""
    shadow = {row[0]: row for row in _rows(etc / "shadow", 9)}
    people = {}
    for row in _rows(etc / "passwd", 7):
        if row[2].isdecimal() and row[3].isdecimal():
            hidden = shadow.get(row[0])
            people[row[0]] = Person(
                *(row[0], int(row[2]), int(row[3]), row[4], row[5], row[6]),
                password=hidden[1] if hidden else None,
                expires=hidden[7] if hidden else "",
            )
    rows = [row for row in _rows(etc / "group", 4) if row[2].isdecimal()]
    return Tables(
        people,
        {row[0]: int(row[2]) for row in rows},
        {row[0]: frozenset(name for name in row[3].split(",") if name) for row in rows},
    )


def _rows(path: Path, fields: int) -> list[list[str]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise failures.provider_error(error, str(path)) from error
    if len(text) > MAX_TEXT:
        raise TransientError(f"{path} is larger than {MAX_TEXT} bytes", reason="Unreadable")
    # Not splitlines: a user's own words about itself may hold what ends a line for Python and for nobody else.
    rows = (line.split(":") for line in text.decode(errors="surrogateescape").split("\n"))
    return [row for row in rows if len(row) == fields and row[0]]
