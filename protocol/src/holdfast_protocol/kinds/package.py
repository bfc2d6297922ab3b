"""A Package's spec: packages of Debian's kind, by name, with the version or the state they must have."""

import re
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_PACKAGES: Final = 200
State = Literal["present", "absent", "held"]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{1,126}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]{0,126}")


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One package. `held`: there, and kept from upgrades."""

    name: str
    version: str = ""  # exactly this one, older or newer; "": any
    state: State = "present"
    take_over: bool = False  # absent may take one away that was there before us


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written: `packages`, or one by itself."""

    packages: tuple[Item, ...] = ()
    name: str = ""  # "" without packages: metadata.name
    version: str = ""
    state: State = "present"
    take_over: bool = False
    purge: bool = False  # their configuration goes with them


class Wanted(msgspec.Struct, frozen=True):
    items: tuple[Item, ...]  # by name, each once
    purge: bool


def wanted(spec: dict[str, Any], name: str) -> Wanted:
    """Return what the spec of the resource `name` wants. Raises WireError InvalidSpec."""
    given = shaped(spec, Spec)
    alone = bool(given.name or given.version or given.state != "present" or given.take_over)
    if given.packages and alone:
        raise invalid("spec.packages: either packages, or one by itself", "say version and state of each in packages")
    items = given.packages or (Item(given.name or name, given.version, given.state, given.take_over),)
    if len(items) > MAX_PACKAGES:
        raise invalid(f"spec.packages: more than {MAX_PACKAGES}")
    for number, item in enumerate(items):
        field = f"spec.packages[{number}]" if given.packages else "spec"
        if not _NAME.fullmatch(item.name):
            raise invalid(f"{field}.name: {item.name[:80]!r} is no name of a package", "as dpkg -l shows it")
        if item.version and not _VERSION.fullmatch(item.version):
            raise invalid(f"{field}.version: {item.version[:80]!r} is no version", "as apt-cache policy shows it")
        if item.state == "absent" and item.version:
            raise invalid(f"{field}.version: what is absent has none")
    if len({item.name for item in items}) != len(items):
        raise invalid("spec.packages: one is there twice")
    return Wanted(tuple(sorted(items, key=lambda item: item.name)), given.purge)
