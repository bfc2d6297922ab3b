"""URLs in CEL, as Go reads the target of a request: an absolute URI or an absolute path, a fragment is no part of it."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

import msgspec
from google.protobuf.message import Message

from holdfast_protocol.blueprint.cel_types import text_of, value_of
from holdfast_protocol.blueprint.functions import Function

MAX_LENGTH: Final = 8 * 1024
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.~!$&'()*+,;=<>\"\x80-\U0010ffff-]*)(?::([0-9]*))?")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@/\[\]%-]*", re.ASCII)


class Url(msgspec.Struct, frozen=True):
    scheme: str
    host: str  # with brackets around IPv6
    port: str
    path: str  # as written
    query: str

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def escaped_path(self) -> str:
        if _PLAIN_PATH.fullmatch(self.path):
            return self.path
        return quote(unquote_to_bytes(self.path), safe="$&+,/:;=@-_.~")

    def parameters(self) -> dict[str, list[str]]:
        """Return the values of each name of the query; malformed pairs are left out."""
        found: dict[str, list[str]] = {}
        for pair in self.query.split("&"):
            if pair and ";" not in pair and not _PERCENT.search(pair):
                name, _, value = pair.partition("=")
                found.setdefault(unquote_plus(name), []).append(unquote_plus(value))
        return found


def url(text: str) -> Url:
    """Return a URL taken apart. ValueError when it is none."""
    if not text or len(text) > MAX_LENGTH or any(ord(each) < 0x20 or ord(each) == 0x7F for each in text):
        raise ValueError(f"{text[:80]!r} is no URL")
    scheme = _SCHEME.match(text)
    rest, _, query = (text[scheme.end() :] if scheme else text).partition("?")
    if not rest.startswith("/"):
        if scheme is None:
            raise ValueError(f"{text[:80]!r} is neither an absolute URI nor an absolute path")
        return Url(scheme[1].lower(), "", "", "", query)
    host, port = "", ""
    if scheme is not None and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        found = _HOST.fullmatch(authority.rpartition("@")[2])
        if found is None:
            raise ValueError(f"{text[:80]!r} has no host a URL can have")
        host, port = found[1], found[2] or ""
    if _PERCENT.search(rest):
        raise ValueError(f"{text[:80]!r} has a % that escapes nothing")
    return Url(scheme[1].lower() if scheme else "", host, port, rest, query)


def _is_url(text: str) -> bool:
    try:
        url(text)
    except ValueError:
        return False
    return True


def _made(text: str) -> Message:
    url(text)
    return value_of("url", text=text)


def _part(read: Callable[[Url], object]) -> Callable[[Message], object]:
    return lambda value: read(url(text_of(value, "url")))


_QUERY: Final = ((("url",), "map(string, list(string))"),)

FUNCTIONS: Final = (
    Function("isURL", ("string",), "bool", _is_url),
    Function("url", ("string",), "url", _made),
    Function("getScheme", ("url",), "string", _part(lambda each: each.scheme), member=True),
    Function("getHost", ("url",), "string", _part(lambda each: each.authority), member=True),
    Function("getHostname", ("url",), "string", _part(lambda each: each.host.strip("[]")), member=True),
    Function("getPort", ("url",), "string", _part(lambda each: each.port), member=True),
    Function("getEscapedPath", ("url",), "string", _part(lambda each: each.escaped_path), member=True),
    Function("getQuery", ("url",), "map", _part(lambda each: each.parameters()), True, _QUERY),
)
