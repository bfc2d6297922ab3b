"""An SSHKey's spec, and the file of authorized keys with its lines in it: ours are known by the last word of their comment."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped
from holdfast_protocol.kinds.user import account_name

MAX_KEYS: Final = 100
MAX_OPTIONS: Final = 20
MARK: Final = "holdfast:"  # begins the last word of a line of ours; the resource's name follows
TYPES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
_COMMENT: Final = re.compile(r"[!-~][ -~]{0,200}")
_OPTION: Final = re.compile(r'[A-Za-z0-9-]{1,40}(="(?:[^"\\\x00-\x1f\x7f]|\\"){0,1000}")?')


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public key as ssh-keygen writes it, and what sshd(8) is to allow by it."""

    key: str
    options: tuple[str, ...] = ()


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written."""

    user: str
    keys: tuple[str | Key, ...]


class Wanted(msgspec.Struct, frozen=True):
    user: str
    lines: tuple[str, ...]


def wanted(spec: dict[str, Any], mark: str) -> Wanted:
    """Return whose file gets which lines; `mark` tells them from others. Raises WireError InvalidSpec."""
    given = shaped(spec, Spec)
    if not 0 < len(given.keys) <= MAX_KEYS:
        raise invalid(f"spec.keys: must hold 1 to {MAX_KEYS}")
    lines = tuple(_line(key, f"spec.keys[{number}]", mark) for number, key in enumerate(given.keys))
    if len(set(lines)) != len(lines):
        raise invalid("spec.keys: one key is there twice")
    return Wanted(account_name(given.user, "spec.user", protected=False), lines)


def mark_of(key: str) -> str:
    """Return the mark of a resource's lines, from its key."""
    return MARK + key.partition("/")[2]


def ours(text: str, mark: str) -> list[str]:
    """Return the lines of a file that carry the mark."""
    return [line for line in text.splitlines() if _is_ours(line, mark)]


def merged(text: str, mark: str, lines: Sequence[str]) -> str:
    """Return the file with exactly these lines of ours, at its end, and every other as it was."""
    if ours(text, mark) == list(lines):
        return text
    kept = "".join(line for line in text.splitlines(keepends=True) if not _is_ours(line, mark))
    if kept and lines and not kept.endswith("\n"):
        kept += "\n"
    return kept + "".join(f"{line}\n" for line in lines)


def _is_ours(line: str, mark: str) -> bool:
    return line.split()[-1:] == [mark] and not line.lstrip().startswith("#")


def _line(given: str | Key, field: str, mark: str) -> str:
    key = Key(given) if isinstance(given, str) else given
    kind, _, rest = key.key.strip().partition(" ")
    body, _, comment = rest.strip().partition(" ")
    comment = comment.strip()
    if kind not in TYPES:
        raise invalid(
            f"{field}: {kind[:40]!r} is no type of key", f"one of {', '.join(TYPES)}; options are their own field"
        )
    if not _holds(body, kind):
        raise invalid(f"{field}: is no {kind} key", "copy the line of the .pub file")
    if comment and not _COMMENT.fullmatch(comment):
        raise invalid(f"{field}: its comment is not one line of at most 200 characters")
    if len(key.options) > MAX_OPTIONS:
        raise invalid(f"{field}.options: more than {MAX_OPTIONS}")
    for number, option in enumerate(key.options):
        if not _OPTION.fullmatch(option):
            raise invalid(f"{field}.options[{number}]: {option[:60]!r} cannot be said", 'as in from="10.0.0.0/8"')
    return " ".join(part for part in (",".join(key.options), kind, body, comment, mark) if part)


def _holds(body: str, kind: str) -> bool:
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return False
    name = kind.encode()
    return len(raw) > len(name) + 8 and raw[:4] == len(name).to_bytes(4, "big") and raw[4 : 4 + len(name)] == name
