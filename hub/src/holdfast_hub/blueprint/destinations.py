"""Where a sink may give readings to: what is written of each, and what is wrong with it.

Credentials are files of the hub's machine, named here and never stored. No URL, address or connection carries one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from holdfast_protocol.wire.flaws import Flaw

MAX_TEXT: Final = 2_000  # characters
MAX_SERVERS: Final = 16
_TABLE: Final = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")
_TOKEN: Final = re.compile(r"(?:[A-Za-z0-9_-]|\{(?:site|node|device|metric|stream)\})+")
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_BROKER: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


class TLS(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`ca_file`: whom to believe, else the machine's authorities. `certificate_file` with `key_file`: who we are."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """HTTP POST of JSON. `secret_file` holds the key of the HMAC-SHA256 that signs each request."""

    url: str
    secret_file: str = ""
    tls: TLS | None = None
    timeout_seconds: int = 30


class PostgreSQL(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`connection` is libpq's, without a password; `table` is made when it is not there."""

    connection: str
    password_file: str = ""
    table: str = "holdfast_readings"
    timeout_seconds: int = 30


class OTLP(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """OTLP over HTTP, protobuf. `headers_file` holds lines of `name: value` for each request."""

    endpoint: str  # of the collector; v1/metrics and v1/logs are below it
    headers_file: str = ""
    tls: TLS | None = None
    timeout_seconds: int = 30


class NATS(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """JetStream; a stream that takes `subject` is there already. With `tls` nothing is said before TLS."""

    servers: tuple[str, ...]  # nats://HOST[:PORT] or tls://HOST[:PORT]
    subject: str = "holdfast.{site}.{device}.{metric}"  # of {site}, {node}, {device}, {metric}, {stream}
    username: str = ""
    password_file: str = ""
    token_file: str = ""
    credentials_file: str = ""  # of a user with an nkey, as `nsc` writes it
    tls: TLS | None = None
    timeout_seconds: int = 30


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An idempotent producer; what is of one device keeps its order."""

    brokers: tuple[str, ...]  # HOST:PORT
    topic: str = "holdfast.readings"
    username: str = ""  # by SASL
    password_file: str = ""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls: TLS | None = None
    timeout_seconds: int = 30


Destination = Webhook | PostgreSQL | OTLP | NATS | Kafka


def flaws(key: str, wanted: Destination) -> Iterator[Flaw]:
    """Yield everything wrong with the destination that stands under `key`."""
    for path, text, hint in _FOUND[type(wanted)](wanted):
        yield Flaw((key, *path), text, hint=hint)
    if not 1 <= wanted.timeout_seconds <= 300:
        yield Flaw((key, "timeoutSeconds"), "must be 1 to 300")
    tls = getattr(wanted, "tls", None)
    for at, each in (((key,), wanted), ((key, "tls"), tls)):
        for name in getattr(each, "__struct_fields__", ()):
            path = getattr(each, name)
            if name.endswith("_file") and path and not _is_path(path):
                word = name.split("_")[0] + "File"
                yield Flaw((*at, word), "must be an absolute path of the hub's machine")
    if tls is not None and bool(tls.certificate_file) != bool(tls.key_file):
        yield Flaw((key, "tls"), "certificateFile and keyFile belong together")


Found = Iterator[tuple[tuple[str, ...], str, str]]  # path below the destination, what is wrong, a hint


def _webhook(hook: Webhook) -> Found:
    yield from _url("url", hook.url, ("http", "https"), "https://lake.example/readings", "webhook.secretFile")
    yield from _needless(hook.tls, [hook.url], "https")


def _otlp(wanted: OTLP) -> Found:
    yield from _url(
        "endpoint", wanted.endpoint, ("http", "https"), "https://collector.example:4318", "otlp.headersFile"
    )
    if "?" in wanted.endpoint or "#" in wanted.endpoint:
        yield ("endpoint",), "v1/metrics and v1/logs are put behind it", "https://collector.example:4318"
    yield from _needless(wanted.tls, [wanted.endpoint], "https")


def _postgresql(base: PostgreSQL) -> Found:
    if not base.connection or len(base.connection) > MAX_TEXT or "\0" in base.connection:
        yield ("connection",), "must be what libpq takes", "host=/run/postgresql dbname=plant"
    if "password" in base.connection.lower() or re.search(r"://[^/@]*:[^/@]*@", base.connection):
        yield ("connection",), "a password here is stored and shown", "postgresql.passwordFile"
    if not _TABLE.fullmatch(base.table):
        yield ("table",), "must be a lower-case name, or schema.name", ""


def _nats(wanted: NATS) -> Found:
    yield from _several("servers", wanted.servers, "nats://nats.example:4222")
    for server in wanted.servers:
        yield from _url("servers", server, ("nats", "tls"), "nats://nats.example:4222", "nats.passwordFile")
        if server.partition("://")[2].partition("/")[2]:
            yield ("servers",), "a server has no path", "nats://nats.example:4222"
    if len(wanted.subject) > 256 or not all(_TOKEN.fullmatch(each) for each in wanted.subject.split(".")):
        text = "must be words of letters, digits, - and _ or {site}, {node}, {device}, {metric}, {stream}, with dots between"
        yield ("subject",), text, "holdfast.{site}.{device}.{metric}"
    if sum(map(bool, (wanted.token_file, wanted.credentials_file, wanted.username or wanted.password_file))) > 1:
        yield (), "a token, credentials, or a user with a password: one of them", ""
    yield from _user(wanted.username, wanted.password_file)


def _kafka(wanted: Kafka) -> Found:
    yield from _several("brokers", wanted.brokers, "kafka.example:9092")
    for broker in wanted.brokers:
        found = _BROKER.fullmatch(broker)
        if not found or not 0 < int(found[1]) < 65_536:
            yield ("brokers",), f"{broker[:80]!r} is not HOST:PORT", "kafka.example:9092"
    if not _TOPIC.fullmatch(wanted.topic):
        yield ("topic",), "must be 1 to 249 letters, digits, dots, - and _", "holdfast.readings"
    yield from _user(wanted.username, wanted.password_file)


_FOUND: Final[dict[type, Callable[[Any], Found]]] = {
    Webhook: _webhook,
    PostgreSQL: _postgresql,
    OTLP: _otlp,
    NATS: _nats,
    Kafka: _kafka,
}


def _url(key: str, url: str, schemes: Sequence[str], example: str, instead: str) -> Found:
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError as error:
        yield (key,), f"no URL: {error}", example
        return
    if parts.scheme not in schemes or not parts.hostname or port == 0 or len(url) > MAX_TEXT:
        yield (key,), f"must be an {' or '.join(schemes)} URL", example
    elif not url.isascii() or not url.isprintable() or " " in url:
        yield (key,), "has characters that need escaping", "%20 for a space"
    if parts.username or parts.password:
        yield (key,), "credentials in a URL are stored and shown", instead


def _several(key: str, items: Sequence[str], example: str) -> Found:
    if not 1 <= len(items) <= MAX_SERVERS:
        yield (key,), f"must be 1 to {MAX_SERVERS}", example


def _user(username: str, password_file: str) -> Found:
    if bool(username) != bool(password_file):
        yield ("username",), "username and passwordFile belong together", ""
    if len(username) > 256 or (username and not username.isprintable()):
        yield ("username",), "must be at most 256 printable characters", ""


def _needless(tls: TLS | None, urls: Sequence[str], scheme: str) -> Found:
    if tls is not None and not all(url.lower().startswith(f"{scheme}://") for url in urls):
        yield ("tls",), f"is for {scheme} URLs", ""


def _is_path(path: str) -> bool:
    return path.startswith("/") and "\0" not in path and len(path) <= MAX_TEXT
