"""Sinks: where the hub gives the readings of some sites to, besides storing them. `spec.placement` names the sites.

Exactly one destination. Credentials are in files of the hub's machine, named here and never stored.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from holdfast_protocol.wire.flaws import Flaw

KIND: Final = "Sink"
MAX_TEXT: Final = 2_000  # characters
_TABLE: Final = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")
_FIELD: Final = re.compile(r" - at (?:key in )?`\$\.?([^`]*)`$")


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """HTTP POST of JSON. `secret_file` holds the key of the HMAC-SHA256 that signs each request."""

    url: str
    secret_file: str = ""
    timeout_seconds: int = 30


class PostgreSQL(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`connection` is libpq's, without a password; `table` is made when it is not there."""

    connection: str
    password_file: str = ""
    table: str = "holdfast_readings"
    timeout_seconds: int = 30


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`batch` is how many readings are handed over at once, at least those of one stored group."""

    webhook: Webhook | None = None
    postgresql: PostgreSQL | None = None
    batch: int = 1_000

    @property
    def destination(self) -> Webhook | PostgreSQL:
        """The one there is, in a spec without flaws."""
        found = self.webhook or self.postgresql
        assert found is not None
        return found


def read(spec: dict[str, Any]) -> Spec:
    """Return a spec that `flaws` found nothing in."""
    return msgspec.convert(spec, Spec)


def flaws(spec: dict[str, Any]) -> Iterator[Flaw]:
    """Yield everything wrong with a Sink's spec, without its placement."""
    try:
        wanted = read(spec)
    except msgspec.ValidationError as error:
        place = _FIELD.search(str(error))
        yield Flaw(tuple(place[1].split(".")) if place else (), _FIELD.sub("", str(error)))
        return
    if (wanted.webhook is None) == (wanted.postgresql is None):
        yield Flaw((), "exactly one of webhook and postgresql", hint="webhook: {url: https://…}")
    if not 1 <= wanted.batch <= 10_000:
        yield Flaw(("batch",), "must be 1 to 10000 readings")
    if wanted.webhook is not None:
        yield from _webhook(wanted.webhook)
    if wanted.postgresql is not None:
        yield from _postgresql(wanted.postgresql)


def _webhook(hook: Webhook) -> Iterator[Flaw]:
    try:
        parts = urlsplit(hook.url)
        port = parts.port
    except ValueError as error:
        yield Flaw(("webhook", "url"), f"no URL: {error}")
        return
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or len(hook.url) > MAX_TEXT:
        yield Flaw(("webhook", "url"), "must be an http or https URL", hint="https://lake.example/readings")
    elif not hook.url.isascii() or not hook.url.isprintable() or " " in hook.url:
        yield Flaw(("webhook", "url"), "has characters that need escaping", hint="%20 for a space")
    if parts.username or parts.password:
        yield Flaw(("webhook", "url"), "credentials in a URL are stored and shown", hint="webhook.secretFile")
    yield from _common(("webhook",), hook.timeout_seconds, "secretFile", hook.secret_file)


def _postgresql(base: PostgreSQL) -> Iterator[Flaw]:
    if not base.connection or len(base.connection) > MAX_TEXT or "\0" in base.connection:
        yield Flaw(("postgresql", "connection"), "must be what libpq takes", hint="host=/run/postgresql dbname=plant")
    if "password" in base.connection.lower() or re.search(r"://[^/@]*:[^/@]*@", base.connection):
        text = "a password here is stored and shown"
        yield Flaw(("postgresql", "connection"), text, hint="postgresql.passwordFile")
    if not _TABLE.fullmatch(base.table):
        yield Flaw(("postgresql", "table"), "must be a lower-case name, or schema.name")
    yield from _common(("postgresql",), base.timeout_seconds, "passwordFile", base.password_file)


def _common(at: tuple[str, ...], seconds: int, key: str, path: str) -> Iterator[Flaw]:
    if not 1 <= seconds <= 300:
        yield Flaw((*at, "timeoutSeconds"), "must be 1 to 300")
    if path and (not path.startswith("/") or "\0" in path or len(path) > MAX_TEXT):
        yield Flaw((*at, key), "must be an absolute path of the hub's machine")
