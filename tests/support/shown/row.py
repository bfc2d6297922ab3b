"""How one kind is shown on a booted machine: a row of `support.shown.table`.

To show another kind, write a row and put it under the kind's name into one of the tables that `support.shown.table` joins
(`tests/system/test_every_kind.py` fails until there is one):

    "Directory": Row(
        {"path": "/srv/every/folder", "mode": "0750"},        # created with this spec,
        {"path": "/srv/every/folder", "mode": "0755"},        # then changed to this one
        look="stat -c %a /srv/every/folder",                  # what the machine shows, asked past the agent
        shows=("750", "755"),                                 # with the first spec, and with the second
        drift="chmod 700 /srv/every/folder",                  # what somebody does by hand
    )

All rows are one target: names, paths, ports and units are a row's own. Before and after, a look must print the same and
something else than `shows`. What the machine has to have before its agent starts is put there by `support.shown.ground`.
"""

from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """`look`, `drift` and `meanwhile` are lines for sh on the machine. What a look prints is compared with single blanks.

    `undrifted`, `unmoved`, `kept` and `unshown` are reasons, "" for what is as with every other kind.
    """

    first: Spec
    second: Spec
    look: str
    shows: tuple[str, str]
    drift: str = ""
    name: str = "every"  # metadata.name
    metadata: dict[str, Any] = field(default_factory=dict)  # more of it
    also: tuple[dict[str, Any], ...] = ()  # whole documents that it needs and that come and go with it
    meanwhile: str = ""  # what happens at the machine once it was created, and again once it was changed
    undrifted: str = ""  # why nothing is done to it by hand
    unmoved: str = ""  # why what is done by hand does not alter what the machine shows
    kept: str = ""  # why the machine goes on showing the second spec when the resource is gone
    unshown: str = ""  # what of the kind these machines cannot show


@dataclass(frozen=True)
class Failing:
    """A kind of which these machines can show the failing side only: it looks, and what it asks for is not there.

    `says` are patterns of what the agent says with each spec (type, reason and message); `why`, what the machine lacks."""

    first: Spec
    second: Spec
    says: tuple[str, str]
    why: str
    name: str = "every"
