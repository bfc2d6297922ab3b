"""The text of a unit file, checked before systemd sees it: structure, size, and names it must not touch. Pure.

Only the structure is judged, not each setting: those differ between versions, and systemd says so when it loads the unit.
"""

import re
from functools import cached_property
from typing import Final

import msgspec

from holdfast_protocol.errors import WireError

MAX_TEXT: Final = 128 * 1024  # bytes
MAX_LINE: Final = 16 * 1024  # characters, continuations joined
_BLANK: Final = " \t\r\n"  # to systemd; a no-break space is a character like any other
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Setting(msgspec.Struct, frozen=True):
    line: int  # from 1
    section: str
    key: str
    value: str


class UnitText(msgspec.Struct, frozen=True, dict=True):
    """The settings in order. An empty value clears the ones before it, as systemd has it."""

    settings: tuple[Setting, ...]

    def values(self, section: str, key: str) -> tuple[str, ...]:
        """Return what a setting amounts to."""
        found: list[str] = []
        for each in self.settings:
            if (each.section, each.key) == (section, key):
                found = [*found, each.value] if each.value else []
        return tuple(found)

    def words(self, section: str, *keys: str) -> tuple[str, ...]:
        """Return the words of settings that are lists of unit names."""
        return tuple(word for key in keys for value in self.values(section, key) for word in value.split())

    @cached_property
    def runs_to_completion(self) -> bool:
        """Whether ending by itself is what this service is for."""
        types, remain = self.values("Service", "Type"), self.values("Service", "RemainAfterExit")
        lasting = bool(remain) and remain[-1].lower() in {"yes", "true", "on", "1", "y", "t"}
        return bool(types) and types[-1] == "oneshot" and not lasting

    @cached_property
    def can_be_enabled(self) -> bool:
        return bool(self.words("Install", "WantedBy", "RequiredBy", "UpheldBy", "Also", "Alias"))


def read_unit(text: str, field: str, section_of: str = "Service") -> UnitText:
    """Return the settings of `text`, or raise WireError naming `field` and the line. Reasons: BadUnit, TooLarge.

    Beside [Unit], [Install] and [X-…] there may be the section `section_of` the kind of unit; "": of any name."""
    _check_characters(text, field)
    known = ("Unit", section_of, "Install")
    section = ""
    settings: list[Setting] = []
    for line, content in _lines(text, field):
        if content.startswith("["):
            section = content[1:-1]
            fits = section in known or section.startswith("X-") or not section_of
            if not content.endswith("]") or not section or not fits:
                hint = f"one of {', '.join(each for each in known if each)}"
                raise _bad(field, line, f"{content[:80]} is no section of a {section_of.lower() or 'unit'}", hint)
            continue
        key, equals, value = content.partition("=")
        key = key.strip(_BLANK)
        if not equals or not _KEY.fullmatch(key):
            raise _bad(field, line, f"{content[:80]!r} is no Setting=value", "")
        if not section:
            raise _bad(field, line, f"{key}= stands before any [Section]", f"begin with [Unit] or [{section_of}]")
        settings.append(Setting(line, section, key, value.strip(_BLANK)))
    return UnitText(tuple(settings))


def check_service(unit: UnitText, field: str) -> None:
    """Raise WireError unless the unit can be a service: it must say what to run."""
    check_says(unit, field, "Service", ("ExecStart", "ExecStop"), "ExecStart=/usr/bin/…")


def check_says(unit: UnitText, field: str, section: str, keys: tuple[str, ...], example: str) -> None:
    """Raise WireError unless the section has one of the settings that make it such a unit."""
    if not any(each.section == section for each in unit.settings):
        raise _bad(field, 0, f"there is no [{section}] section with settings", f"add [{section}] and {example}")
    if not any(unit.values(section, key) for key in keys):
        raise _bad(field, 0, f"[{section}] has no {keys[0]}=", f"say it: {example}")


def _check_characters(text: str, field: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _bad(field, text.count("\n", 0, error.start) + 1, "not text: a lone surrogate", "") from None
    if size > MAX_TEXT:
        raise WireError(f"{field} has {size} bytes, the limit is {MAX_TEXT}", reason="TooLarge")
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise _bad(field, line, f"control character {control.group()!r}", "")


def _lines(text: str, field: str) -> list[tuple[int, str]]:
    """Return each line with its number: comments and blanks left out, continued lines joined."""
    found: list[tuple[int, str]] = []
    joined, start = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(_BLANK)
        if line[:1] in {"#", ";"} or not (line or joined):
            continue  # a comment inside a continued line is left out as well
        start = start or number
        joined = f"{joined} {line}" if joined else line
        if len(joined) > MAX_LINE:
            raise _bad(field, start, f"line of more than {MAX_LINE} characters", "")
        if (len(line) - len(line.rstrip("\\"))) % 2:  # two are one that is meant
            if not raw.rstrip("\r").endswith("\\"):
                raise _bad(
                    field, number, "blanks after the last \\: some versions go on with the next line", "remove them"
                )
            joined = joined[:-1].rstrip(_BLANK)
            continue
        found.append((start, joined))
        joined, start = "", 0
    if joined:
        raise _bad(field, start, "the text ends inside a continued line", "remove the last \\")
    return found


def _bad(field: str, line: int, message: str, hint: str) -> WireError:
    place = f"{field} line {line}" if line else field
    return WireError(f"{place}: {message}", reason="BadUnit", hint=hint)
