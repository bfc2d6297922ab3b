"""A spec as its kind's shape: one conversion, and one way to say what does not fit."""

from typing import Any, TypeVar

import msgspec

from holdfast_protocol.errors import WireError

T = TypeVar("T", bound=msgspec.Struct)


def shaped(spec: dict[str, Any], shape: type[T]) -> T:
    """Return the spec as a `shape`, or raise WireError InvalidSpec that names the place in it."""
    try:
        return msgspec.convert(spec, shape)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None


def invalid(message: str, hint: str = "") -> WireError:
    """Return the error for a spec that says what cannot be; `message` begins with the path of the value."""
    return WireError(message, reason="InvalidSpec", hint=hint)
