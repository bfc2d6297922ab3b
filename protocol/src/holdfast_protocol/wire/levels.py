"""Names of devices and commands as levels of a topic: what fits none stands as % and two hexadecimal digits for each byte.

Letters, digits and _ . : @ - stand for themselves, but for the last four in front; all else is its UTF-8, byte by byte, so
that two names never become one level. The same in the words of an AMQP routing key, where a dot of a name is a slash.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from holdfast_protocol.wire.readings import MAX_NAME

MAX_LEVEL: Final = 12 * MAX_NAME  # characters: four bytes of UTF-8, three characters each
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.:@-]|^[.:@-]")
_NOT_IN_A_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_sayable(name: str) -> bool:
    """Return whether a device, or something it is told to do, may be called so: 1 to 256 characters, none of them a control."""
    return 0 < len(name) <= MAX_NAME and _NOT_IN_A_NAME.search(name) is None


def level_of(name: str) -> str:
    """Return a sayable name as one level of a topic."""
    return name if _PLAIN.fullmatch(name) else _ODD.sub(_escaped, name)


def name_of(level: str) -> str | None:
    """Return the name that a level stands for; None for a level that stands for none, or not as it is written here."""
    if len(level) > MAX_LEVEL:
        return None
    try:
        name = unquote_to_bytes(level).decode()
    except UnicodeError:
        return None
    return name if is_sayable(name) and level_of(name) == level else None


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
