"""The one door to the broker: a narrow port, and paho-mqtt behind it (`paho.dial`).

A connection is one network connection: it is made, used and, once `LinkLost` was raised, thrown away. Reconnecting is
`link.py`'s; durability is the databases'. Deliveries wait in a bounded queue of ours; when it is full the socket is not
read, because Mosquitto 2.0 ignores the client's Receive Maximum once a backlog drains.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

LARGEST: Final = 268_435_455  # bytes, the protocol's own limit of a packet


class Will(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retain: bool = True


class Options(msgspec.Struct, frozen=True):
    """How to connect. `unix` is a socket, and counts before host and port; `keepalive` and `session_expiry` are in seconds."""

    client_id: str
    host: str = "127.0.0.1"
    port: int = 1883
    unix: str = ""
    username: str = ""
    password: str = ""
    clean_start: bool = False
    session_expiry: int = 7 * 24 * 3600
    keepalive: int = 30
    receive_maximum: int = 200
    max_packet: int = 8 * 1024 * 1024
    queue: int = 1000  # deliveries held here before the socket is no longer read
    will: Will | None = None
    version: int = 5  # or 4: MQTT 3.1.1
    tls: ssl.SSLContext | None = None  # None: in the clear
    server_name: str = ""  # as the certificate has it; "": host
    with_properties: bool = False  # MQTT 5: deliveries come with their user properties, at some cost


class Connected(msgspec.Struct, frozen=True):
    """What the broker granted."""

    session_present: bool
    receive_maximum: int
    max_packet: int  # bytes; the protocol's own limit when the broker names none


class Subscription(msgspec.Struct, frozen=True):
    """`retained`: 0 send retained messages now, 1 only for a new subscription, 2 never (MQTT 5 Retain Handling). MQTT 5 as
    well: `no_local` without what this client publishes itself, `as_published` with the retain flag messages were sent with."""

    filter: str
    qos: int = 1
    retained: int = 0
    no_local: bool = False
    as_published: bool = False


class Delivery(msgspec.Struct, frozen=True, gc=False):
    topic: str
    payload: bytes
    qos: int
    retain: bool  # from the broker's store, because of a subscription of ours; a live message has it false
    duplicate: bool  # the broker says it may have delivered this before
    mid: int  # packet identifier within the session, 0 at QoS 0
    properties: tuple[tuple[str, str], ...] = ()  # the user's, where the connection was asked for them


class Connection(Protocol):
    """Nine methods; every one may raise LinkLost."""

    async def connect(self) -> Connected: ...

    async def subscribe(self, subscriptions: Sequence[Subscription], *, beside: bool = False) -> None:
        """Return once granted; raises LinkLost with reason `Refused` when the broker refuses one. `beside`: another task
        receives meanwhile, so nothing is read beyond the queue for the sake of the answer."""
        ...

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Return the PUBACK's reason code (0 accepted, 16 nobody listens; 128 and more raise PublishRefused, and the
        connection goes on). At QoS 0 return 0 once written. `properties` are the user's, for MQTT 5 only."""
        ...

    async def receive(self) -> Delivery:
        """Return the next delivery, in the broker's order. What came before the connection was lost still comes."""
        ...

    async def receive_all(self, most: int, within: float, size: int = LARGEST) -> list[Delivery]:
        """Return what there is: one delivery at least, `most` at most, of `size` bytes or one. While there are
        fewer, let others gather for `within` seconds after the first.

        What came before the connection was lost is returned, and the next call raises."""
        ...

    def acknowledge(self, *deliveries: Delivery) -> None:
        """Tell the broker that these are committed here. Nothing is acknowledged without this. [inv: commit-before-ack]"""
        ...

    async def round_trip(self, *, beside: bool = False) -> None:
        """Return when the broker has read everything sent before, acknowledgements included, and said so."""
        ...

    async def leave(self) -> bool:
        """Disconnect in order, as `close`, and return whether the broker is known to have read everything sent before.
        What it delivered and nobody received is discarded."""
        ...

    async def close(self) -> None:
        """Disconnect in order (no will is sent). Never raises."""
        ...


Dial = Callable[[Options], Connection]
Handler = Callable[[Connection, Connected], Awaitable[None]]
