"""The one door to the broker: a narrow port, and paho-mqtt behind it (`paho.dial`).

A connection is one network connection: it is made, used and, once `LinkLost` was raised, thrown away. Reconnecting is
`link.py`'s; durability is the databases'. Deliveries wait in a bounded queue of ours; when it is full the socket is not
read, because Mosquitto 2.0 ignores the client's Receive Maximum once a backlog drains.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec


class Will(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retain: bool = True


class Options(msgspec.Struct, frozen=True):
    """How to connect. Exactly one of (host, port) and `unix`; `keepalive` and `session_expiry` are in seconds."""

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


class Connected(msgspec.Struct, frozen=True):
    """What the broker granted."""

    session_present: bool
    receive_maximum: int
    max_packet: int  # bytes; the protocol's own limit when the broker names none


class Subscription(msgspec.Struct, frozen=True):
    """`retained`: 0 send retained messages now, 1 only for a new subscription, 2 never (MQTT 5 Retain Handling)."""

    filter: str
    qos: int = 1
    retained: int = 0


class Delivery(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    qos: int
    retain: bool  # from the broker's store, because of a subscription of ours; a live message has it false
    duplicate: bool  # the broker says it may have delivered this before
    mid: int  # packet identifier within the session, 0 at QoS 0


class Connection(Protocol):
    """Seven methods; every one may raise LinkLost."""

    async def connect(self) -> Connected: ...

    async def subscribe(self, subscriptions: Sequence[Subscription], *, beside: bool = False) -> None:
        """Return once granted; raises LinkLost with reason `Refused` when the broker refuses one. `beside`: another task
        receives meanwhile, so nothing is read beyond the queue for the sake of the answer."""
        ...

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Return the PUBACK's reason code (0 accepted, 16 nobody listens; 128 and more raise LinkLost
        with reason `Refused`). At QoS 0 return 0 once written."""
        ...

    async def receive(self) -> Delivery:
        """Return the next delivery, in the broker's order. What came before the connection was lost still comes."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker the delivery is committed here. Nothing is acknowledged without this. [inv: commit-before-ack]"""
        ...

    async def round_trip(self, *, beside: bool = False) -> None:
        """Return when the broker has read everything sent before, acknowledgements included, and said so."""
        ...

    async def close(self) -> None:
        """Disconnect in order (no will is sent). Never raises."""
        ...


Dial = Callable[[Options], Connection]
Handler = Callable[[Connection, Connected], Awaitable[None]]
