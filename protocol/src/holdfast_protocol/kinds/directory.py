"""A Directory's spec, checked."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.accounts import check_account
from holdfast_protocol.kinds.paths import path_parts

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


def wanted(spec: dict[str, Any]) -> Wanted:
    """Return what the spec wants. Raises WireError: InvalidSpec, BadPath, UnsafeMode."""
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    path_parts(given.path, "spec.path")
    for field, account in (("owner", given.owner), ("group", given.group)):
        check_account(field, account)
    return Wanted(path=given.path, mode=_mode(given.mode), owner=given.owner, group=given.group)


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not _MODE.fullmatch(text):
        raise WireError(
            f"spec.mode {text[:20]!r} is not octal", reason="InvalidSpec", hint='write it as text: mode: "0755"'
        )
    mode = int(text, 8)
    if mode & _SET_USER or (mode & _OPEN_TO_ALL and not mode & _STICKY):
        raise WireError(
            f"spec.mode {text}: no set-user-id bit, and writable by all only with the sticky bit",
            reason="UnsafeMode",
            hint='"1777" for a folder everybody may write in',
        )
    return mode
