"""paho-mqtt as the driver uses it: on a socket that is connected already, with nothing of its own to wait or to retry."""

import ssl
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from holdfast_protocol.runtime.mqtt import LARGEST, Delivery, Options, Subscription
from holdfast_protocol.runtime.packets import PacketSocket
from holdfast_protocol.runtime.publishes import publishes, varint


class Client(paho.Client):
    """paho on a socket that is connected already."""

    packets: PacketSocket
    with_properties = False  # the user's are wanted
    on_delivery: Callable[[Delivery], None]

    def _create_socket(self) -> Any:  # paho's own would block the event loop
        return self.packets

    def _handle_publish(self) -> MQTTErrorCode:
        """Read it as every other: the library finds fault with text that brokers hand on, and it would come again for ever."""
        packet = self._in_packet
        if packet["command"] & 0x04:
            return super()._handle_publish()  # QoS 2: for the driver to see that it is held
        whole = bytes([packet["command"]]) + varint(len(packet["packet"])) + bytes(packet["packet"])
        is_5 = self._protocol == MQTTProtocolVersion.MQTTv5
        found, _ = publishes(whole, 0, 1, LARGEST, with_properties=is_5, of_user=self.with_properties)
        if not found:
            raise MQTTException("a message that is none")
        self.on_delivery(found[0])
        return MQTTErrorCode.MQTT_ERR_SUCCESS

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
    client.with_properties = options.with_properties
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
