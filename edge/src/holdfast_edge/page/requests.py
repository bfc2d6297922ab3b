"""Requests: a request's head as bytes, and what it asks of the agent."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

_LINE: Final = re.compile(r"([A-Z]{1,10}) (/[!-~]{0,2000}) HTTP/1\.[01]")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([^\r\n\0]*?)[ \t]*")
_PATHS: Final = {
    "/v1/overview": ("overview", ()),
    "/v1/status": ("status", ()),
    "/v1/plan": ("plan", ()),
    "/v1/readings": ("readings", ("device", "metric", "limit")),
    "/v1/journal": ("journal", ("limit",)),
    "/v1/logs": ("logs", ("resource", "lines")),
}
_WORDS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "device": ("device", str),
    "metric": ("metric", str),
    "resource": ("id", str),
    "limit": ("limit", int),
    "lines": ("limit", int),
}


class BadRequest(Exception):
    def __init__(self, message: str, *, reason: str = "BadRequest") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]  # names in lower case


def read(head: bytes) -> Request:
    """Return a request from its head, without the empty line; raises BadRequest for what no browser sends."""
    first, *rest = head.decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequest("not a request of HTTP/1.1")
    headers: dict[str, str] = {}
    for each in rest:
        field = _FIELD.fullmatch(each)
        if field is None or field[1].lower() in headers:
            raise BadRequest("a header is wrong, or there twice")
        headers[field[1].lower()] = field[2]
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest("this page is for reading", reason="ReadOnly")
    try:
        parts = urlsplit(line[2])
        query = tuple(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=10)
        )
    except ValueError as error:
        raise BadRequest(f"the address is wrong: {error}") from None
    return Request(line[1], parts.path, query, headers)


def wanted(request: Request, *, logs: bool) -> dict[str, Any]:
    """Return what to ask the agent for; raises BadRequest for what there is not."""
    found = _PATHS.get(request.path)
    if found is None:
        raise BadRequest(f"there is no {request.path[:80]}", reason="NoSuchPage")
    do, words = found
    if do == "logs" and not logs:
        raise BadRequest("logs are not shown here: say logs = true in [page] of edge.toml", reason="NoSuchPage")
    asked: dict[str, Any] = {"do": do}
    for name, value in request.query:
        if name not in words:
            raise BadRequest(f"{request.path} knows no {name[:40]!r}")
        field, form = _WORDS[name]
        if form is int and not (value.isascii() and value.isdigit() and len(value) < 7):
            raise BadRequest(f"{name} is a number")
        asked[field] = form(value)
    return asked
