"""The driver behind the port of `mqtt.py`: paho-mqtt on asyncio's own readiness, no threads. Only this module imports paho.

paho keeps the protocol's state; reading, writing, waiting and bounds are ours. Lost connections say why in `reason`:
Unreachable, NotTrusted (TLS), Refused, TakenOver, Lost, Timeout (no answer in time), Malformed (not MQTT, or over our
limits), Overrun (more deliveries than are held), Closed (by us).
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from holdfast_protocol.errors import LinkLost, MisuseError, PublishRefused
from holdfast_protocol.runtime.answers import ANSWER_WITHIN, Answers
from holdfast_protocol.runtime.deliveries import Deliveries
from holdfast_protocol.runtime.mqtt import LARGEST, Connected, Connection, Delivery, Options, Subscription
from holdfast_protocol.runtime.packets import PacketSocket, open_socket
from holdfast_protocol.runtime.paho_client import filters, made_client, tls_text, user_properties
from holdfast_protocol.runtime.publishes import publishes
from holdfast_protocol.runtime.refusals import refusal_text
from holdfast_protocol.runtime.window import Window

NOWHERE: Final = "holdfast/nowhere"
CONNECT_WITHIN: Final = 10.0  # seconds, from the name look-up to the broker's CONNACK
CLOSE_WITHIN: Final = 1.0  # seconds to write what waits before an orderly end
LEAVE_WITHIN: Final = 10.0  # seconds for the broker to read all of it and to close
DISCONNECT: Final = b"\xe0\0"  # of both versions: all is well
OVERFULL: Final = 8  # times the queue's bounds: so much is held while an answer is awaited
WINDOW: Final = 1000  # publishes in flight, when the broker grants more
TAKEN_OVER: Final = 0x8E  # MQTT 5 reason code: another client connected with our client id


def dial(options: Options) -> Connection:
    """Return a connection to be connected."""
    return _Connection(options)


class _Connection:
    """INVARIANTS:
    - after `_lost` is set nothing is read or written, everything that waits is awake, and everything asked raises;
      only what was delivered before is still handed out: a broker that died may have held it nowhere else;
    - packets leave in the order of the calls, but that acknowledgements may go before publishes;
    - a publish holds its place in the window until its PUBACK, also when its caller has been cancelled.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._client = made_client(options)
        self._lost: tuple[str, str] | None = None  # message and reason
        self._farewell: tuple[str, str] | None = None  # the same, when we end it ourselves
        self._socket: PacketSocket | None = None
        self._granted: Connected | None = None
        self._settled = asyncio.Event()  # CONNACK is here, or the connection is lost
        self._deliveries = Deliveries(options.queue, options.max_packet)
        self._arrived = asyncio.Event()
        self._overrun = False  # deliveries were discarded: none after them may be taken on this connection
        self._answers = Answers(self._loop)
        self._window = Window()
        self._written = asyncio.Event()
        self._writing = False
        self._work_due = False
        self._timer: asyncio.TimerHandle | None = None

    async def connect(self) -> Connected:
        if self._socket is not None or self._lost is not None:
            raise MisuseError("a connection is connected once")
        options = self._options
        where = options.unix or f"{options.host}:{options.port}"
        try:
            with anyio.fail_after(CONNECT_WITHIN):
                raw = await open_socket(options)
                self._start(PacketSocket(raw, self._loop, limit=options.max_packet, on_readable=self._readable))
                await self._settled.wait()
        except TimeoutError:
            self._fail(f"{where} does not answer", "Unreachable")
        except ssl.SSLError as error:
            self._fail(f"{where}: {tls_text(error)}", "NotTrusted")
        except (OSError, UnicodeError) as error:
            self._fail(f"{where}: {refusal_text(error)}", "Unreachable")
        except BaseException:
            self._fail("connecting was given up", "Closed")
            raise
        self._check()
        if self._granted is None:
            raise MisuseError("the broker granted nothing")
        return self._granted

    def _start(self, packets: PacketSocket) -> None:
        options, client = self._options, self._client
        self._socket = client.packets = packets
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_delivery = self._on_delivery
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_socket_register_write = self._on_work
        host, port = options.unix or options.host, options.port or 1883
        if options.version == 5:
            granted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            granted.SessionExpiryInterval = options.session_expiry
            granted.ReceiveMaximum = options.receive_maximum
            granted.MaximumPacketSize = options.max_packet
            client.connect(host, port, options.keepalive, clean_start=options.clean_start, properties=granted)
        else:
            client.connect(host, port, options.keepalive)
        packets.resume()
        self._timer = self._loop.call_later(1.0, self._tick)

    async def subscribe(self, subscriptions: Sequence[Subscription], *, beside: bool = False) -> None:
        self._check()
        _, mid = self._client.subscribe(filters(subscriptions, self._options.version))
        if mid is None:
            self._fail("the connection is gone", "Lost")
            self._check()
            return
        codes = await self._answer(mid, beside=beside)
        for each, code in zip(subscriptions, codes, strict=False):
            if code != each.qos:  # less than asked would lose messages in silence
                raise LinkLost(f"subscription to {each.filter} refused with code {code}", reason="Refused")
        if len(codes) != len(subscriptions):
            self._fail(f"{len(codes)} answers to {len(subscriptions)} subscriptions", "Malformed")
            self._check()

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
    ) -> int:
        self._check()
        if self._granted is None or not 0 <= qos <= 1 or not topic or set(topic) & {"+", "#", "\0"}:
            raise MisuseError("publish needs a connection that is connected, QoS 0 or 1, and a topic")
        said = sum(len(name.encode()) + len(value.encode()) + 5 for name, value in properties)
        if len(payload) + len(topic.encode()) + said + 16 > self._granted.max_packet:
            raise MisuseError(
                f"{topic}: {len(payload)} bytes, the broker takes packets of {self._granted.max_packet}",
                reason="TooLarge",
            )
        user = user_properties(properties) if self._options.version == 5 else None
        if qos == 0:
            self._client.publish(topic, payload, 0, retain, user)
            await self._drained()
            return 0
        await self._window.take()
        self._check()
        info = self._client.publish(topic, payload, 1, retain, user)
        while info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # that packet identifier is still in flight
            info = self._client.publish(topic, payload, 1, retain, user)
        (code,) = await self._answer(info.mid)
        if code >= 0x80:
            raise PublishRefused(topic, code)
        return code

    async def receive(self) -> Delivery:
        (delivery,) = await self.receive_all(1, 0)
        return delivery

    async def receive_all(self, most: int, within: float, size: int = LARGEST) -> list[Delivery]:
        while not self._deliveries:
            self._check()
            if self._overrun:
                self._end("more was delivered than is held while an answer was awaited", "Overrun")
                continue
            self._arrived.clear()
            await self._arrived.wait()
        if within and len(self._deliveries) < most and self._socket is not None:
            await self._socket.rest(within)
        found = self._deliveries.take(most, size)
        if self._socket is not None and self._socket.paused:
            self._regulate()
        return found

    def acknowledge(self, *deliveries: Delivery) -> None:
        self._check()
        packets = b"".join([b"\x40\x02" + each.mid.to_bytes(2, "big") for each in deliveries if each.qos])
        if packets and self._socket is not None:  # [inv: commit-before-ack]
            self._socket.append(packets)
            self._on_work()

    async def round_trip(self, *, beside: bool = False) -> None:
        # To leave what was never subscribed is the one request of both versions that changes nothing.
        self._check()
        _, mid = self._client.unsubscribe(NOWHERE)
        if mid is None:
            self._fail("the connection is gone", "Lost")
            self._check()
            return
        await self._answer(mid, beside=beside)

    async def leave(self) -> bool:
        self._check()
        packets = self._socket
        assert packets is not None
        has_read = False
        with anyio.move_on_after(LEAVE_WITHIN):
            await self._drained()
            self._farewell = ("the connection was left", "Closed")
            packets.append(DISCONNECT)
            self._on_work()
            await self._drained()
            has_read = await packets.read_out()
        self._deliveries.clear()
        self._fail("the connection was left", "Closed")
        return has_read

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            if self._lost is None and self._granted is not None:
                with anyio.move_on_after(CLOSE_WITHIN), contextlib.suppress(LinkLost):
                    await self._drained()
            self._end("the connection was closed here", "Closed")
            self._deliveries.clear()

    # waiting

    def _check(self) -> None:
        if self._lost is not None:
            raise LinkLost(self._lost[0], reason=self._lost[1])

    async def _answer(self, mid: int, *, beside: bool = False) -> tuple[int, ...]:
        answer = self._answers.expect(mid, beside=beside)
        self._regulate()
        await answer.done.wait()
        if not answer.codes:
            self._check()
        return answer.codes

    async def _drained(self) -> None:
        while self._socket is not None and (self._client.want_write() or self._socket.unsent):
            self._check()
            self._written.clear()
            await self._written.wait()
        self._check()

    # the socket

    def _readable(self) -> None:
        packets = self._socket
        while packets is not None and packets.readable and self._lost is None:
            if self._granted is not None and self._client.is_between_packets:
                packets.take(self._take)
            if packets.readable:
                self._guard(self._client.loop_read)
            if self._client.holds_exactly_once:
                self._fail("the broker sent QoS 2, which was not asked for", "Malformed")

    def _take(self, buffer: bytes, at: int) -> int:
        """Take plain deliveries ourselves, as far as the queue goes: the library needs five times as long for each."""
        most = OVERFULL if self._answers.is_awaited else 1
        room = self._deliveries.room(most)
        if self._overrun or not room:
            return at
        options = self._options
        found, end = publishes(
            buffer, at, room, options.max_packet, with_properties=options.version == 5, of_user=options.with_properties
        )
        if found:
            self._deliveries.add(found)
            self._arrived.set()
            self._regulate()
        return end

    def _work(self) -> None:
        """Write what paho holds, in as few system calls as there can be."""
        self._work_due = False
        if self._socket is not None and self._lost is None:
            self._writing = True
            self._guard(self._client.loop_write)
            self._writing = False
            self._socket.flush()
            if self._socket.unsent or self._client.want_write():
                self._socket.call_when_writable(self._work)
            else:
                self._written.set()

    def _tick(self) -> None:
        packets = self._socket
        if packets is None or self._lost is not None:
            return
        if packets.paused:
            self._client.forgive_ping()
        self._guard(self._client.loop_misc)
        if self._answers.is_late:
            self._fail(f"the broker did not answer within {ANSWER_WITHIN:.0f} s", "Timeout")
        self._timer = self._loop.call_later(1.0, self._tick)

    def _guard(self, step: Callable[[], object]) -> None:
        """Run one step of paho's; what a broker's bytes make it raise ends the connection and nothing else."""
        try:
            step()
        except (MQTTException, ValueError, LookupError, TypeError, AttributeError, OSError, struct.error) as error:
            self._fail(f"not understood: {error}", "Malformed")

    def _regulate(self) -> None:
        """Stop reading when the queue is full, go on when it is half empty.

        An awaited answer comes behind deliveries in the same socket, and who awaits it may be the one who should empty
        the queue. So then we read on: the queue grows up to `OVERFULL` times, and what comes after that is discarded
        without acknowledgement. When the rest has been received the connection ends, and the broker sends it again.
        """
        if self._socket is None or self._lost is not None:
            return
        if self._answers.is_awaited or (not self._overrun and self._deliveries.fullness <= 0.5):
            self._socket.resume()
        elif self._overrun or self._deliveries.fullness >= 1:
            self._socket.pause()

    def _end(self, message: str, reason: str) -> None:
        """Disconnect in order: no will is sent. What does not fit into the socket now is not waited for."""
        self._farewell = (message, reason)
        if self._lost is None and self._socket is not None:
            self._guard(self._client.disconnect)
            self._work()
        self._fail(message, reason)

    def _fail(self, message: str, reason: str) -> None:
        if self._lost is not None:
            return
        problem = self._socket.problem if self._socket is not None else ""
        self._lost = self._farewell or ((problem, "Malformed") if problem else (message, reason))
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
        self._answers.wake_all()
        for event in (self._arrived, self._written, self._settled):
            event.set()
        self._window.wake_all()

    # called by paho; nothing here raises

    def _on_work(self, *_: object) -> None:
        if not self._work_due:
            self._work_due = True
            self._loop.call_soon(self._work)

    def _on_connect(self, _c: object, _u: object, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._fail(f"the broker refused: {code}", "Refused")
            return
        receive_maximum = int(getattr(properties, "ReceiveMaximum", 0xFFFF))
        self._window.open(min(receive_maximum, WINDOW))
        self._granted = Connected(
            session_present=bool(flags.session_present),
            receive_maximum=receive_maximum,
            max_packet=int(getattr(properties, "MaximumPacketSize", LARGEST)),
        )
        self._settled.set()

    def _on_disconnect(self, _c: object, _u: object, _f: object, code: ReasonCode, _p: object) -> None:
        self._fail(f"the connection ended: {code}", "TakenOver" if code.value == TAKEN_OVER else "Lost")

    def _on_delivery(self, delivery: Delivery) -> None:
        self._overrun = self._overrun or self._deliveries.fullness >= OVERFULL
        if self._overrun:
            return
        self._deliveries.add([delivery])
        self._arrived.set()
        self._regulate()

    def _on_publish(self, _c: object, _u: object, mid: int, code: ReasonCode, _p: object) -> None:
        if not self._writing and self._answered(mid, (code.value,)):  # while writing: a QoS 0 message has left
            self._window.give()

    def _on_subscribe(self, _c: object, _u: object, mid: int, codes: list[ReasonCode], _p: object) -> None:
        self._answered(mid, tuple(code.value for code in codes))

    def _on_unsubscribe(self, _c: object, _u: object, mid: int, *_: object) -> None:
        self._answered(mid, (0,))

    def _answered(self, mid: int, codes: tuple[int, ...]) -> bool:
        if not self._answers.take(mid, codes):
            return False
        self._regulate()
        return True
