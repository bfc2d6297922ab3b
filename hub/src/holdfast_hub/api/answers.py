"""How the API speaks: JSON in, JSON out, one shape for every error."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast_protocol.errors import (
    ConflictError,
    HoldfastError,
    InputError,
    NotFoundError,
    Problem,
    TransientError,
    WireError,
)

T = TypeVar("T")
MAX_BODY: Final = 16 * 1024 * 1024  # bytes
STATUS: Final[Mapping[type[HoldfastError], int]] = {  # the first that fits
    InputError: 400,
    WireError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    TransientError: 503,
}


class Refusal(HoldfastError):
    """A request HTTP itself refuses: too large, not JSON, of no known shape."""

    def __init__(self, message: str, status: int, *, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.status = status


def answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def error_answer(error: HoldfastError) -> Response:
    """Return what an error looks like to a caller."""
    status = 500
    if isinstance(error, Refusal):
        status = error.status
    else:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    problems: tuple[Problem, ...] = error.problems if isinstance(error, InputError) else ()
    body = {"reason": error.reason, "message": error.message, "hint": error.hint, "problems": problems}
    return answer({"error": body}, status)


async def body(request: Request, kind: type[T]) -> T:
    """Return the request's body as `kind`; an empty one as `{}`. Raises Refusal or InputError."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise Refusal(f"a body of more than {MAX_BODY} bytes", 413, reason="TooLarge")
    try:
        return msgspec.json.decode(bytes(data) or b"{}", type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InputError([Problem(message, path=path.rstrip("`").lstrip("."))]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal(f"the body is not JSON: {error}", 400, reason="BadJson") from None


def query(request: Request, kind: type[T]) -> T:
    """Return the request's query as `kind`. Raises InputError; a parameter unknown or given twice is refused."""
    values: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if key in values:
            raise InputError([Problem("is given twice", path=key[:80])])
        values[key] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InputError([Problem(message, path=path.rstrip("`").lstrip("."))]) from None


class Deleting(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False  # say what would happen, and delete nothing


def author(request: Request) -> str:
    """Return who asks, as they say themselves: whoever reaches the socket is trusted."""
    said = request.headers.get("holdfast-author", "")[:100]
    return said if said.isprintable() and said else "local"
