"""What a File resource wants: its spec checked, its content found. Pure."""

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_CONTENT: Final = 1024 * 1024  # bytes
_MODE: Final = re.compile(r"0?[0-7]{3}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")
_SECRET_MODE: Final = 0o600


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
    path: str
    content: bytes
    digest: str  # of the content
    mode: int | None  # None: not ours to say
    owner: str | int  # "": not ours to say
    group: str | int
    new_mode: int = 0o644  # of a file that is not there yet


def wanted(resource: Resource, scope: Scope) -> Wanted:
    """Return what `resource` wants, or raise PermanentError: InvalidSpec, MissingReference, TooLarge, UnsafeMode."""
    try:
        spec = msgspec.convert(resource.spec, Spec)
    except msgspec.ValidationError as error:
        raise _invalid(str(error).replace("`$", "`spec")) from None
    content = _content(spec, resource, scope)
    if len(content) > MAX_CONTENT:
        raise PermanentError(f"the content has {len(content)} bytes, the limit is {MAX_CONTENT}", reason="TooLarge")
    mode = _mode(spec.mode)
    if mode is None and spec.content_from is not None and spec.content_from.secret:
        mode = _SECRET_MODE  # a secret is for its owner unless the author says otherwise
    for field, account in (("owner", spec.owner), ("group", spec.group)):
        check_account(field, account)
    return Wanted(
        path=spec.path,
        content=content,
        digest=digest_bytes(content),
        mode=mode,
        owner=spec.owner,
        group=spec.group,
    )


def reference(resource: Resource) -> ResourceKey | None:
    """Return the key of the resource whose content is used, None when there is none (or the spec is not valid)."""
    source = resource.spec.get("contentFrom")
    if not isinstance(source, dict):
        return None
    kind = "Secret" if source.get("secret") else "ConfigMap"
    return _key(kind, str(source.get("secret") or source.get("configMap") or ""), resource)


def _key(kind: str, name: str, resource: Resource) -> ResourceKey:
    namespace = resource.body["metadata"].get("namespace")
    return ResourceKey(f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}")


def _content(spec: Spec, resource: Resource, scope: Scope) -> bytes:
    given = [each for each in (spec.content, spec.content_base64, spec.content_from) if each is not None]
    if len(given) != 1:
        raise _invalid("spec needs exactly one of content, contentBase64, contentFrom")
    if spec.content is not None:
        return _encoded(spec.content, "spec.content")
    if spec.content_base64 is not None:
        return _decoded(spec.content_base64, "spec.contentBase64")
    source = spec.content_from
    if source is None or bool(source.config_map) == bool(source.secret):
        raise _invalid("spec.contentFrom needs exactly one of configMap, secret")
    key = _key("Secret", source.secret, resource) if source.secret else _key("ConfigMap", source.config_map, resource)
    found = scope.resources.get(key)
    if found is None:
        raise PermanentError(
            f"spec.contentFrom: {key} is not in the target",
            reason="MissingReference",
            hint=f"add {key} to the blueprint",
        )
    fields = ("stringData", "data") if source.secret else ("data", "binaryData")
    for field in fields:
        values: Any = found.body.get(field)
        value = values.get(source.key) if isinstance(values, dict) else None
        if isinstance(value, str):
            plain = field == "stringData" or (field == "data" and not source.secret)
            return (_encoded if plain else _decoded)(value, f"{key}: {field}.{source.key}")
    raise PermanentError(
        f"spec.contentFrom: {key} has no key {source.key[:80]!r}",
        reason="MissingReference",
        hint=f"add it to {' or '.join(fields)} of {key}",
    )


def _encoded(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _invalid(f"{path} is not text") from None


def _decoded(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(f"{path} is not base64") from None


def _mode(text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"[0-7]{4,5}", text) and not _MODE.fullmatch(text):
        raise PermanentError(
            f"spec.mode {text}: set-user-id, set-group-id and sticky bits are not given to files", reason="UnsafeMode"
        )
    if not _MODE.fullmatch(text):
        raise _invalid(f"spec.mode {text[:20]!r} is not octal", hint='write it as text: mode: "0644"')
    return int(text, 8)


def check_account(field: str, account: str | int) -> None:
    if isinstance(account, int):
        if not 0 <= account < 2**32 - 1:
            raise _invalid(f"spec.{field} {account} is not an id")
    elif account and not _ACCOUNT.fullmatch(account):
        raise _invalid(f"spec.{field} {account[:80]!r} is not a name")


def _invalid(message: str, *, hint: str = "") -> PermanentError:
    return PermanentError(message, reason="InvalidSpec", hint=hint)
