"""paho-mqtt as the driver uses it: on a socket that is connected already, with nothing of its own to wait or to retry."""

import ssl
from collections.abc import Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from holdfast_protocol.runtime.mqtt import Delivery, Options, Subscription
from holdfast_protocol.runtime.packets import PacketSocket


class Client(paho.Client):
    """paho on a socket that is connected already."""

    packets: PacketSocket

    def _create_socket(self) -> Any:  # paho's own would block the event loop
        return self.packets

    def forgive_ping(self) -> None:
        """Do not miss an answer to a ping that we do not read ourselves."""
        self._ping_t = 0.0

    @property
    def is_between_packets(self) -> bool:
        """The next byte read begins a packet."""
        return self._in_packet["command"] == 0

    @property
    def holds_exactly_once(self) -> bool:
        """A QoS 2 message is held; we never subscribe so, and paho would hold any number of them."""
        return bool(self._in_messages)


def tls_text(error: ssl.SSLError) -> str:
    """Return what OpenSSL found, for people."""
    return str(getattr(error, "verify_message", "") or error.reason or error)


def made_client(options: Options) -> Client:
    """Return a client of the library as the driver needs it."""
    version = MQTTProtocolVersion.MQTTv5 if options.version == 5 else MQTTProtocolVersion.MQTTv311
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if options.version == 5 else options.clean_start or not options.session_expiry,
        protocol=version,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.max_inflight_messages = 0  # the window is ours
    if options.username:
        client.username_pw_set(options.username, options.password or None)
    if options.will is not None:
        client.will_set(options.will.topic, options.will.payload, 1, options.will.retain)
    return client


def user_properties(pairs: Sequence[tuple[str, str]]) -> Properties | None:
    """Return a PUBLISH's properties with these of the user, None for none."""
    if not pairs:
        return None
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.UserProperty = list(pairs)
    return made


def filters(subscriptions: Sequence[Subscription], version: int) -> list[Any]:
    """Return subscriptions as the library takes them."""
    if version != 5:
        return [(each.filter, each.qos) for each in subscriptions]
    return [
        (each.filter, SubscribeOptions(each.qos, each.no_local, each.as_published, each.retained))
        for each in subscriptions
    ]


def delivery_of(message: paho.MQTTMessage, *, with_properties: bool) -> Delivery:
    """Return a message as our port has it; a topic that is no text still must reach someone who acknowledges it."""
    try:
        topic = message.topic
    except UnicodeDecodeError as error:
        topic = error.object.decode("utf-8", "replace")
    said = tuple(getattr(message.properties, "UserProperty", ())) if with_properties else ()
    return Delivery(topic, bytes(message.payload), message.qos, message.retain, message.dup, message.mid, said)
