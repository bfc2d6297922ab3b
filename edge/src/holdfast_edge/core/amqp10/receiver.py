"""The receiving end of one AMQP 1.0 connection: one session, one link, and what is owed to the other side.

Nothing here knows a socket or a clock: it is fed bytes, and says what to send. Unsettled deliveries are the caller's to
settle. Bounded: a message larger than agreed keeps its size and loses its content, as its bytes come.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_edge.core.amqp10.performatives import PLAIN, SASL, Frame, frame_of, framed, made, part_of, size_of
from holdfast_edge.core.amqp10.types import Malformed
from holdfast_edge.core.sources import printable

SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
HEADER: Final = b"AMQP\x00\x01\x00\x00"
MAX_FRAME: Final = 64 * 1024  # bytes
WINDOW: Final = 4_096  # frames the sender may have on their way
_MODULUS: Final = 1 << 32
_UNSETTLED, _FIRST, _SETTLED = 0, 0, 1  # modes of settling
_REFUSALS: Final = {
    "amqp:unauthorized-access": "Refused",
    "amqp:not-found": "NoQueue",
    "amqp:resource-deleted": "NoQueue",
    "amqp:not-allowed": "Refused",
    "amqp:link:stolen": "TakenOver",
    "amqp:resource-locked": "TakenOver",
}
Outcome = Literal["accepted", "rejected"]


class Broken(Exception):
    """The connection is of no use any more. `reason` as in LinkLost."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class Terms(msgspec.Struct, frozen=True):
    """`username` "": as the certificate says, where `has_certificate`, else as nobody in particular.

    `credit`: messages sent before the first is settled; `largest`: bytes of one message; `idle` in seconds.
    """

    container: str
    hostname: str
    address: str
    name: str = "holdfast"  # of the link
    username: str = ""
    password: str = ""
    has_certificate: bool = False
    credit: int = 500
    largest: int = 256 * 1024
    idle: int = 30


class Delivery(msgspec.Struct):
    """`body` is the whole encoded message, b"" for one of more than the agreed `size`."""

    number: int
    size: int = 0
    body: bytes = b""
    condition: str = ""  # why it is to be rejected; "": it is accepted


class Receiver:
    """`feed` what comes, send what `output` returns. INVARIANT: `credit` is never below 0 and never above the agreed."""

    def __init__(self, terms: Terms) -> None:
        self.is_ready = False  # the broker has accepted the link
        self.is_closed = False
        self.product = ""  # what the broker says it is
        self.idle = 0.0  # seconds of silence after which the other side gives us up; 0: never
        self._terms = terms
        self._in = bytearray()
        self._out = bytearray(SASL_HEADER)
        self._expects = SASL_HEADER
        self._in_sasl = True
        self._parts: list[bytes] = []
        self._current: Delivery | None = None
        self._credit = 0
        self._count = 0  # deliveries, as the sender counts them
        self._incoming = 0  # number of the next transfer
        self._window = WINDOW
        self._outgoing = 0

    def output(self) -> bytes:
        """Return what is to be sent, once."""
        found = bytes(self._out)
        self._out.clear()
        return found

    def feed(self, data: bytes) -> list[Delivery]:
        """Return the deliveries that are whole now. Raises Broken."""
        self._in += data
        found: list[Delivery] = []
        try:
            while self._take(found):
                pass
        except Malformed as error:
            raise Broken(f"not AMQP 1.0 as it must be: {error}") from None
        return found

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the sender what became of deliveries, in the order they came, and let it send as many again."""
        start = 0
        for place in range(1, len(deliveries) + 1):
            first, last = deliveries[start], deliveries[place - 1]
            if place < len(deliveries):
                following = deliveries[place]
                if following.condition == first.condition and following.number == (last.number + 1) % _MODULUS:
                    continue
            state = made("accepted")
            if first.condition:
                state = made("rejected", error=made("error", condition=first.condition))
            self._say("disposition", role=True, first=first.number, last=last.number, settled=True, state=state)
            start = place
        if self._credit <= self._terms.credit // 2:
            self._credit = self._terms.credit
            self._flow()

    def live(self) -> None:
        """Say that we are there."""
        self._out += framed(b"")

    def close(self) -> None:
        """Say that we go."""
        if not self.is_closed and not self._in_sasl:
            self._say("close")
        self.is_closed = True

    def _take(self, found: list[Delivery]) -> bool:
        """Take one header or frame; False when it is not whole yet."""
        if self._expects:
            if len(self._in) < 8:
                return False
            if (given := bytes(self._in[:8])) != self._expects:
                raise Broken(f"the broker answers with {given!r}, not with AMQP 1.0")
            del self._in[:8]
            self._expects = b""
            if not self._in_sasl:
                terms = self._terms
                idle = terms.idle * 1000
                self._say(
                    "open",
                    container_id=terms.container,
                    hostname=terms.hostname,
                    max_frame_size=MAX_FRAME,
                    channel_max=0,
                    idle_time_out=idle,
                )
            return True
        size = size_of(self._in)
        if size > MAX_FRAME:
            raise Malformed(f"a frame of {size} bytes, {MAX_FRAME} are agreed")
        if not size or len(self._in) < size:
            return False
        if self._in[5] != (SASL if self._in_sasl else PLAIN):
            raise Malformed("a frame that is not of this time")
        frame = frame_of(bytes(self._in[:size]))
        del self._in[:size]
        if self._in_sasl:
            self._log_in(frame)
        elif frame.kind:
            self._hear(frame, found)
        return True

    def _log_in(self, frame: Frame) -> None:
        fields, terms = frame.fields, self._terms
        match frame.kind:
            case "sasl-mechanisms":
                offered = fields.get("sasl-server-mechanisms", [])
                offered = [offered] if isinstance(offered, str) else offered
                mechanism = "PLAIN" if terms.username else "EXTERNAL" if terms.has_certificate else "ANONYMOUS"
                if mechanism not in offered:
                    shown = printable(", ".join(map(str, offered[:10])))
                    raise Broken(f"the broker takes no {mechanism} login, but {shown or 'none'}", "Refused")
                answer = b""
                if mechanism == "PLAIN":
                    answer = b"\0" + terms.username.encode() + b"\0" + terms.password.encode()
                init = made("sasl-init", mechanism=mechanism, initial_response=answer, hostname=terms.hostname)
                self._out += framed(init, SASL)
            case "sasl-outcome":
                if fields.get("code") != 0:
                    raise Broken("refused: wrong user name or password, or no permission", "Refused")
                self._in_sasl = False
                self._out += HEADER
                self._expects = HEADER
            case _:
                raise Broken("the broker asks what such a login does not answer", "Refused")

    def _hear(self, frame: Frame, found: list[Delivery]) -> None:
        fields = frame.fields
        match frame.kind:
            case "open":
                self.idle = fields.get("idle-time-out", 0) / 1000
                properties = fields.get("properties")
                self.product = str(properties.get("product", "")) if isinstance(properties, dict) else ""
                self._say("begin", next_outgoing_id=0, incoming_window=WINDOW, outgoing_window=WINDOW, handle_max=0)
            case "begin":
                self._incoming = fields.get("next-outgoing-id", 0)
                self._attach()
            case "attach":
                self._attached(fields)
            case "transfer":
                self._transfer(fields, frame.payload, found)
            case "flow":
                if fields.get("echo"):
                    self._flow()
            case "disposition" | "":
                pass  # what a sender settles was settled by us before
            case "detach" | "end" | "close":
                if frame.kind == "close":
                    self._say("close")
                    self.is_closed = True
                raise _broken(frame.kind, fields)
            case _:
                raise Malformed(f"{frame.kind} from a sender")

    def _attach(self) -> None:
        terms = self._terms
        self._say(
            "attach",
            name=terms.name,
            handle=0,
            role=True,
            snd_settle_mode=_UNSETTLED,
            rcv_settle_mode=_FIRST,
            source=made("source", address=terms.address),
            target=made("target"),
            max_message_size=terms.largest,
        )

    def _attached(self, fields: dict[str, Any]) -> None:
        if self.is_ready or fields.get("source") is None:
            return  # refused: the reason comes with the detach that must follow
        if fields.get("snd-settle-mode") == _SETTLED:
            raise Broken("the broker would send without waiting for what becomes of it", "Refused")
        self._count = fields.get("initial-delivery-count", 0)
        self._credit = self._terms.credit
        self.is_ready = True
        self._flow()

    def _transfer(self, fields: dict[str, Any], payload: bytes, found: list[Delivery]) -> None:
        self._incoming = (self._incoming + 1) % _MODULUS
        self._window -= 1
        if self._window <= WINDOW // 2:
            self._flow()
        delivery = self._current
        if delivery is None:
            number = fields.get("delivery-id")
            if not self._credit or number is None:
                raise Malformed("a transfer without a number, or more of them than agreed")
            self._credit -= 1
            self._count = (self._count + 1) % _MODULUS
            delivery = self._current = Delivery(number)
        delivery.size += len(payload)
        if delivery.size > self._terms.largest:
            self._parts.clear()
        elif payload:
            self._parts.append(payload)
        if fields.get("more") and not fields.get("aborted"):
            return
        if not fields.get("aborted"):
            delivery.body = b"".join(self._parts)
            found.append(delivery)
        self._current = None
        self._parts.clear()
        if fields.get("aborted"):  # nobody will settle it
            self._credit += 1
            self._flow()

    def _flow(self) -> None:
        self._window = WINDOW
        link: dict[str, Any] = {}
        if self.is_ready:
            link = {"handle": 0, "delivery_count": self._count, "link_credit": self._credit}
        self._say(
            "flow",
            next_incoming_id=self._incoming,
            incoming_window=WINDOW,
            next_outgoing_id=0,
            outgoing_window=WINDOW,
            **link,
        )

    def _say(self, kind: str, **fields: Any) -> None:
        self._out += framed(made(kind, **fields))


def _broken(kind: str, fields: dict[str, Any]) -> Broken:
    condition, text = "", ""
    if fields.get("error") is not None:
        name, said = part_of(fields["error"])
        if name == "error":
            condition, text = str(said.get("condition", "")), str(said.get("description", ""))
    shown = printable(f"{condition} {text}".strip())
    return Broken(f"the broker ended the {_ENDS[kind]}: {shown or 'it does not say why'}", _REFUSALS.get(condition, ""))


_ENDS: Final = {"detach": "link", "end": "session", "close": "connection"}
