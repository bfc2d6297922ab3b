"""A File's spec, checked, and the content it says or refers to."""

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.accounts import check_account
from holdfast_protocol.kinds.paths import path_parts

MAX_CONTENT: Final = 1024 * 1024  # bytes
SECRET_MODE: Final = 0o600
_MODE: Final = re.compile(r"0?[0-7]{3}")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One key of a ConfigMap or Secret of the same target and namespace."""

    key: str
    config_map: str = ""
    secret: str = ""


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The spec as written. Exactly one of the three contents; what is left out is not compared."""

    path: str
    content: str | None = None
    content_base64: str | None = None
    content_from: Source | None = None
    mode: str = ""
    owner: str | int = ""
    group: str | int = ""


class Wanted(msgspec.Struct, frozen=True):
    """What the spec says by itself: `content`, or the `source` it is found in."""

    path: str
    content: bytes | None
    source: Source | None
    mode: int | None  # None: not ours to say
    owner: str | int  # "": not ours to say
    group: str | int


def wanted(spec: dict[str, Any]) -> Wanted:
    """Return what the spec wants. Raises WireError: InvalidSpec, BadPath, TooLarge, UnsafeMode."""
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    path_parts(given.path, "spec.path")
    contents = [each for each in (given.content, given.content_base64, given.content_from) if each is not None]
    if len(contents) != 1:
        raise _invalid("spec needs exactly one of content, contentBase64, contentFrom")
    source = given.content_from
    if source is not None and bool(source.config_map) == bool(source.secret):
        raise _invalid("spec.contentFrom needs exactly one of configMap, secret")
    content = None
    if given.content is not None:
        content = encoded(given.content, "spec.content")
    elif given.content_base64 is not None:
        content = decoded(given.content_base64, "spec.contentBase64")
    if content is not None:
        check_size(content)
    mode = _mode(given.mode)
    if mode is None and source is not None and source.secret:
        mode = SECRET_MODE  # a secret is for its owner unless the author says otherwise
    for field, account in (("owner", given.owner), ("group", given.group)):
        check_account(field, account)
    return Wanted(given.path, content, source, mode, given.owner, given.group)


def content_in(source: Source, body: dict[str, Any], key: str) -> bytes:
    """Return the content a source names in the ConfigMap or Secret `body`, called `key` in messages.

    Raises WireError: MissingReference, InvalidSpec, TooLarge.
    """
    fields = ("stringData", "data") if source.secret else ("data", "binaryData")
    for field in fields:
        values: Any = body.get(field)
        value = values.get(source.key) if isinstance(values, dict) else None
        if isinstance(value, str):
            plain = field == "stringData" or (field == "data" and not source.secret)
            content = (encoded if plain else decoded)(value, f"{key}: {field}.{source.key}")
            check_size(content)
            return content
    raise WireError(
        f"spec.contentFrom: {key} has no key {source.key[:80]!r}",
        reason="MissingReference",
        hint=f"add it to {' or '.join(fields)} of {key}",
    )


def check_size(content: bytes) -> None:
    if len(content) > MAX_CONTENT:
        raise WireError(f"spec: the content has {len(content)} bytes, the limit is {MAX_CONTENT}", reason="TooLarge")


def encoded(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _invalid(f"{path} is not text") from None


def decoded(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(f"{path} is not base64") from None


def _mode(text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"[0-7]{4,5}", text) and not _MODE.fullmatch(text):
        raise WireError(
            f"spec.mode {text}: set-user-id, set-group-id and sticky bits are not given to files", reason="UnsafeMode"
        )
    if not _MODE.fullmatch(text):
        raise _invalid(f"spec.mode {text[:20]!r} is not octal", hint='write it as text: mode: "0644"')
    return int(text, 8)


def _invalid(message: str, *, hint: str = "") -> WireError:
    return WireError(message, reason="InvalidSpec", hint=hint)
