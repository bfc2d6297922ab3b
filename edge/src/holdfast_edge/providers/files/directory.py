"""What a Directory resource wants: its spec checked. Pure."""

import re
from typing import Final

import msgspec

from holdfast_edge.providers.files.wanted import check_account
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.target import Resource

_MODE: Final = re.compile(r"[0-7]{3,4}")
_SET_USER: Final = 0o4000
_OPEN_TO_ALL: Final = 0o002
_STICKY: Final = 0o1000


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The spec as written. What is left out is not compared."""

    path: str
    mode: str = ""
    owner: str | int = ""
    group: str | int = ""


class Wanted(msgspec.Struct, frozen=True):
    path: str
    mode: int | None  # None: not ours to say
    owner: str | int  # "": not ours to say
    group: str | int


def wanted(resource: Resource) -> Wanted:
    """Return what `resource` wants, or raise PermanentError: InvalidSpec, UnsafeMode."""
    try:
        spec = msgspec.convert(resource.spec, Spec)
    except msgspec.ValidationError as error:
        raise PermanentError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    for field, account in (("owner", spec.owner), ("group", spec.group)):
        check_account(field, account)
    return Wanted(path=spec.path, mode=_mode(spec.mode), owner=spec.owner, group=spec.group)


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not _MODE.fullmatch(text):
        raise PermanentError(
            f"spec.mode {text[:20]!r} is not octal", reason="InvalidSpec", hint='write it as text: mode: "0755"'
        )
    mode = int(text, 8)
    if mode & _SET_USER or (mode & _OPEN_TO_ALL and not mode & _STICKY):
        raise PermanentError(
            f"spec.mode {text}: no set-user-id bit, and writable by all only with the sticky bit",
            reason="UnsafeMode",
            hint='"1777" for a folder everybody may write in',
        )
    return mode
