"""What a SystemdService resource wants: its spec checked. Pure."""

from collections.abc import Collection

import msgspec

from holdfast_edge.providers.systemd import names, unit_text
from holdfast_edge.providers.systemd.unit_text import UnitText
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.digest import digest, digest_bytes
from holdfast_protocol.wire.target import Resource

MAX_DROP_INS = 20


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written."""

    unit: str
    name: str = ""  # "": metadata.name
    enabled: bool = True
    running: bool = True
    drop_ins: dict[str, str] = {}
    take_over: bool = False  # of a unit of this name that was there before us


class File(msgspec.Struct, frozen=True):
    path: str  # below the folder of units
    content: bytes
    digest: str


class Wanted(msgspec.Struct, frozen=True):
    """One service: its files (the unit first), and how it should stand."""

    name: str
    files: tuple[File, ...]
    digest: str  # of all files: what must be in effect
    text: UnitText
    enabled: bool
    running: bool
    take_over: bool


def wanted(resource: Resource, denied: Collection[str] = ()) -> Wanted:
    """Return what `resource` wants, or raise PermanentError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    try:
        spec = msgspec.convert(resource.spec, Spec)
    except msgspec.ValidationError as error:
        raise PermanentError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    name = names.unit_name(spec.name or resource.name, denied)
    if len(spec.drop_ins) > MAX_DROP_INS:
        raise PermanentError(f"spec.dropIns: more than {MAX_DROP_INS}", reason="InvalidSpec")
    text = unit_text.read_unit(spec.unit, "spec.unit")
    unit_text.check_service(text, "spec.unit")
    _check_reach(text, denied, "spec.unit")
    files = [_file(name, spec.unit)]
    for each in sorted(spec.drop_ins):
        field = f"spec.dropIns.{each[:80]}"
        _check_reach(unit_text.read_unit(spec.drop_ins[each], field), denied, field)
        files.append(_file(f"{name}.d/{names.drop_in_name(each)}", spec.drop_ins[each]))
    if len({file.path for file in files}) != len(files):
        raise PermanentError("spec.dropIns: two of them have the same file name", reason="InvalidSpec")
    return Wanted(
        name=name,
        files=tuple(files),
        digest=digest([[file.path, file.digest] for file in files]),
        text=text,
        enabled=spec.enabled,
        running=spec.running,
        take_over=spec.take_over,
    )


def _check_reach(text: UnitText, denied: Collection[str], field: str) -> None:
    """A service must not stop, or stand in for, what the site lives by. [inv: agent-is-never-its-own-casualty]"""
    touched = (
        *text.words("Unit", "Conflicts", "PropagatesStopTo"),
        *text.words("Install", "Alias", "Also"),
    )
    for unit in touched:
        if names.is_essential(unit, denied):
            raise PermanentError(f"{field}: {unit} belongs to the machine itself", reason="EssentialUnit")


def _file(path: str, text: str) -> File:
    content = text.encode()
    return File(path, content, digest_bytes(content))
