"""A message of AMQP 1.0 opened: what it is known by, what it is about, and its body as bytes."""

from typing import Any, Final

import msgspec

from holdfast_edge.core.amqp10.performatives import part_of
from holdfast_edge.core.amqp10.types import Described, Malformed, decoded

MAX_SECTIONS: Final = 100
_ANNOTATIONS, _DATA, _SEQUENCE, _VALUE = 0x72, 0x75, 0x76, 0x77
_WORDS: Final = {
    "amqp:message-annotations:map": _ANNOTATIONS,
    "amqp:data:binary": _DATA,
    "amqp:amqp-sequence:list": _SEQUENCE,
    "amqp:amqp-value:*": _VALUE,
}
ROUTING_KEY: Final = "x-routing-key"  # RabbitMQ's annotation


class Content(msgspec.Struct, frozen=True):
    """`key`: the routing key as the broker annotates it, `subject` and `to` as the sender says; "" where nobody does.

    `again`: the broker says that it may have been delivered before.
    """

    id: str
    key: str
    subject: str
    to: str
    body: bytes
    again: bool


def opened(data: bytes) -> Content:
    """Return what a message says. A body that is a value, and no bytes, becomes JSON, a text its UTF-8. Raises Malformed."""
    at, sections = 0, 0
    header: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    key = ""
    body: list[bytes] = []
    while at < len(data):
        value, at = decoded(data, at)
        sections += 1
        if sections > MAX_SECTIONS:
            raise Malformed(f"more than {MAX_SECTIONS} sections")
        name, fields = part_of(value)
        match name or _section(value):
            case "header":
                header = fields
            case "properties":
                properties = fields
            case 0x72 if isinstance(value.value, dict):
                key = _word(value.value.get(ROUTING_KEY))
            case 0x75:
                body.append(_bytes(value.value))
            case 0x76 | 0x77 as section:
                body.append(_rendered(value.value, lone=section == _VALUE))
            case _:
                pass  # what is nobody's here: delivery annotations, the application's properties, a footer
    again = header.get("delivery-count", 0) > 0 or header.get("first-acquirer") is False
    ident = properties.get("message-id")
    return Content(
        "" if ident is None else _word(ident if isinstance(ident, str) else _rendered(ident, lone=True).decode()),
        key,
        _word(properties.get("subject")),
        _word(properties.get("to")),
        b"".join(body),
        again,
    )


def _section(value: Described) -> int:
    number = value.descriptor
    return number if type(number) is int else _WORDS.get(str(number), 0)


def _word(text: Any) -> str:
    return text if isinstance(text, str) else ""


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed("a section of data that is not bytes")
    return value


def _rendered(value: Any, *, lone: bool) -> bytes:
    if lone and isinstance(value, bytes):
        return value
    if lone and isinstance(value, str):
        return value.encode()
    try:
        return msgspec.json.encode(_plain(value))
    except (TypeError, ValueError, msgspec.MsgspecError):
        raise Malformed("a value that no JSON can say") from None


def _plain(value: Any) -> Any:
    match value:
        case Described():
            return _plain(value.value)
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case str():
            return str(value)
    return value
