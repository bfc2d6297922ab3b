"""A User's spec: an account of the machine's own files, what of it is said and what it may never be."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.file import Source
from holdfast_protocol.kinds.paths import path_parts
from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_GROUPS: Final = 64
MAX_ID: Final = 2**31 - 1
_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_COMMENT: Final = re.compile(r"[^:,\x00-\x1f\x7f-\x9f]{0,200}")
_HASH: Final = re.compile(r"\$[0-9a-z]{1,10}\$[A-Za-z0-9./$=,-]{8,250}")
_PASSED: Final = ("root", "nobody")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As written. What is left out is not compared; a new account then gets what useradd(8) gives."""

    name: str = ""  # "": metadata.name
    uid: int | None = None
    group: str = ""  # the primary one; "": one of its own name
    groups: tuple[str, ...] | None = None  # all the others
    home: str = ""
    shell: str = ""
    comment: str | None = None
    system: bool = False  # a new one gets a number of the system's range and no home
    locked: bool | None = None  # true: no way in, by password or by key
    password_from: Source | None = None  # a Secret's key that holds a crypt(5) hash
    remove_home: bool = False
    take_over: bool = False


def wanted(spec: dict[str, Any], name: str) -> Spec:
    """Return the spec of the resource `name`, checked, with the account's name in it. Raises WireError: InvalidSpec,
    BadPath, Protected."""
    given = shaped(spec, Spec)
    given = msgspec.structs.replace(given, name=account_name(given.name or name, "spec.name"))
    if given.uid is not None and not 0 < given.uid <= MAX_ID:
        raise invalid(f"spec.uid: {given.uid} is not 1 to {MAX_ID}")
    if given.group:
        account_name(given.group, "spec.group", protected=False)
    if len(given.groups or ()) > MAX_GROUPS or len(set(given.groups or ())) != len(given.groups or ()):
        raise invalid(f"spec.groups: at most {MAX_GROUPS}, each once")
    for number, group in enumerate(given.groups or ()):
        account_name(group, f"spec.groups[{number}]", protected=False)
    for field, path in (("home", given.home), ("shell", given.shell)):
        if path:
            path_parts(path, f"spec.{field}")
            if ":" in path or not path.isascii():
                raise invalid(f"spec.{field}: {path[:80]!r} cannot stand in /etc/passwd")
    if given.comment is not None and not _COMMENT.fullmatch(given.comment):
        raise invalid("spec.comment: one line of at most 200 characters, without colon and comma")
    if given.password_from is not None and (given.password_from.config_map or not given.password_from.secret):
        raise invalid("spec.passwordFrom: comes from a Secret", "passwordFrom: {secret: NAME, key: KEY}")
    return given


def account_name(name: str, field: str, *, protected: bool = True) -> str:
    """Return the name of an account, or raise WireError InvalidSpec naming `field`; `protected` ones are refused."""
    if not _NAME.fullmatch(name):
        raise invalid(f"{field}: {name[:80]!r} is no name of an account", "lower-case letters, digits, _ and -")
    if protected and name in _PASSED:
        raise invalid(f"{field}: {name} is the machine's own", "use an account of another name")
    return name


def password_hash(content: bytes) -> str:
    """Return the crypt(5) hash in a Secret's content, or raise WireError InvalidSpec. The content is in no message."""
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not _HASH.fullmatch(text):
        raise invalid("spec.passwordFrom: the Secret holds no crypt(5) hash", "openssl passwd -6 makes one")
    return text
