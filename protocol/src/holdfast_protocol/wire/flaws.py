"""A flaw: one thing wrong inside a value, by its path there; whoever holds the document says where that stands."""

import msgspec

Path = tuple[str | int, ...]


class Flaw(msgspec.Struct, frozen=True):
    """`path` is below the value that was looked at; `offset` is the character of the text there, -1 for all of it."""

    path: Path
    message: str
    hint: str = ""
    warning: bool = False
    offset: int = -1
