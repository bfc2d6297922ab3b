"""Units of systemd as resources write them: the files they are, and what they may not reach. One form for every kind."""

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import unit_names, unit_text
from holdfast_protocol.kinds.unit_text import UnitText
from holdfast_protocol.wire.digest import digest, digest_bytes
from holdfast_protocol.wire.names import ResourceKey

MAX_DROP_INS: Final = 20
Running = bool | Literal["onDemand"]  # onDemand: what triggers it starts it, and nobody stops it


class Shape(msgspec.Struct, frozen=True):
    """A kind of unit: its suffix, its own section, and the settings of which one at least makes it such a unit."""

    suffix: str
    section: str
    settings: tuple[str, ...]
    example: str


SERVICE: Final = Shape(".service", "Service", ("ExecStart", "ExecStop"), "ExecStart=/usr/bin/…")
TIMER: Final = Shape(
    ".timer",
    "Timer",
    (
        "OnCalendar",
        "OnActiveSec",
        "OnBootSec",
        "OnStartupSec",
        "OnUnitActiveSec",
        "OnUnitInactiveSec",
        "OnClockChange",
        "OnTimezoneChange",
    ),
    "OnCalendar=daily",
)
SOCKET: Final = Shape(
    ".socket",
    "Socket",
    (
        "ListenStream",
        "ListenDatagram",
        "ListenSequentialPacket",
        "ListenFIFO",
        "ListenSpecial",
        "ListenNetlink",
        "ListenMessageQueue",
        "ListenUSBFunction",
    ),
    "ListenStream=8080",
)
MOUNT: Final = Shape(".mount", "Mount", ("What",), "What=tmpfs")


class File(msgspec.Struct, frozen=True):
    path: str  # below the folder of units
    content: bytes
    digest: str


class Wanted(msgspec.Struct, frozen=True):
    """One unit: its files (its own first), and how it should stand."""

    name: str
    files: tuple[File, ...]
    digest: str  # of all files: what must be in effect
    text: UnitText
    enabled: bool
    running: Running
    take_over: bool
    restart_on: tuple[ResourceKey, ...] = ()  # what it has read: a change of these is one of the unit


def assembled(
    unit: str,
    text: str,
    drop_ins: Mapping[str, str],
    shape: Shape,
    denied: Collection[str],
    *,
    enabled: bool,
    running: Running,
    take_over: bool,
) -> Wanted:
    """Return the unit of these texts. Raises WireError: InvalidSpec, BadName, BadUnit, TooLarge, EssentialUnit."""
    read = unit_text.read_unit(text, "spec.unit", shape.section)
    unit_text.check_says(read, "spec.unit", shape.section, shape.settings, shape.example)
    _check_reach(read, denied, "spec.unit")
    files = (file(unit, text), *drop_in_files(unit, drop_ins, shape.section, denied))
    return Wanted(unit, files, digest_of(files), read, enabled, running, take_over)


def drop_in_files(unit: str, drop_ins: Mapping[str, str], section: str, denied: Collection[str]) -> tuple[File, ...]:
    """Return the files of `NAME.d/`, in order. `section` is what read_unit asks for; raises as `assembled`."""
    if len(drop_ins) > MAX_DROP_INS:
        raise WireError(f"spec.dropIns: more than {MAX_DROP_INS}", reason="InvalidSpec")
    files = []
    for each in sorted(drop_ins):
        field = f"spec.dropIns.{each[:80]}"
        _check_reach(unit_text.read_unit(drop_ins[each], field, section), denied, field)
        files.append(file(f"{unit}.d/{unit_names.drop_in_name(each)}", drop_ins[each]))
    if len({each.path for each in files}) != len(files):
        raise WireError("spec.dropIns: two of them have the same file name", reason="InvalidSpec")
    return tuple(files)


def file(path: str, text: str) -> File:
    content = text.encode()
    return File(path, content, digest_bytes(content))


def digest_of(files: tuple[File, ...]) -> str:
    return digest([[each.path, each.digest] for each in files])


def native_files(want: Wanted) -> dict[str, str]:
    """Return the unit and its drop-ins as the machine reads them, by path below /etc, each with a line on how."""
    start = []
    if want.enabled and want.text.can_be_enabled:
        start.append(f"systemctl enable {'--now ' if want.running is True else ''}{want.name}")
    elif want.running is True:
        start.append(f"systemctl start {want.name}")
    then = " && ".join(["systemctl daemon-reload", *start])
    return {
        f"systemd/system/{each.path}": f"# Install as /etc/systemd/system/{each.path}, then: {then}\n"
        + each.content.decode()
        for each in want.files
    }


def _check_reach(text: UnitText, denied: Collection[str], field: str) -> None:
    """A unit must not stop, stand in for, or trigger what the site lives by. [inv: agent-is-never-its-own-casualty]"""
    touched = (
        *text.words("Unit", "Conflicts", "PropagatesStopTo"),
        *text.words("Install", "Alias", "Also"),
        *_of_agent(text, denied),
        *text.words("Timer", "Unit"),
        *text.words("Socket", "Service"),
    )
    for unit in touched:
        if unit_names.is_essential(unit, denied):
            raise WireError(f"{field}: {unit} belongs to the machine itself", reason="EssentialUnit")


def _of_agent(text: UnitText, denied: Collection[str]) -> tuple[str, ...]:
    """Return the agent's units that would have to wait for this one, or fall with it."""
    words = (*text.words("Unit", "Before"), *text.words("Install", "RequiredBy"))
    return tuple(unit for unit in words if unit in denied)
