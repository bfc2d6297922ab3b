"""What big brokers do not take, as their makers say it, and what of a bridge's rules goes beyond.

A figure that changes is changed here, with its source.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.bridging.rules import Route
from holdfast_protocol.wire.flaws import Flaw, Path

Product = Literal["", "aws-iot-core", "azure-iot-hub", "azure-event-grid", "azure-web-pubsub"]
KIB: Final = 1024


class Limits(msgspec.Struct, frozen=True):
    """0: none that is known. `payload` in bytes, `topic` in bytes, `keep_alive` in seconds, `rate` in messages a second."""

    title: str
    source: str
    payload: int = 0
    topic: int = 0
    slashes: int = 0
    subscriptions: int = 0  # of a connection
    in_flight: int = 0  # messages not acknowledged
    keep_alive: tuple[int, int] = (0, 0)
    rate: int = 0
    client_id: int = 0  # characters
    versions: tuple[str, ...] = ("3.1.1", "5")
    retain: Literal["yes", "no", "closes"] = "yes"  # closes: such a message ends the connection
    retained: int = 0  # bytes of a retained message
    session: int = 0  # seconds a session outlives its connection; what waits longer is gone
    tls: bool = True
    outputs: tuple[str, ...] = ()  # topics that are taken at all, {} for one level
    note: str = ""


LIMITS: Final[dict[str, Limits]] = {
    "aws-iot-core": Limits(
        "AWS IoT Core",
        "https://docs.aws.amazon.com/general/latest/gr/iot-core.html",
        payload=128 * KIB,
        topic=256,
        slashes=7,
        subscriptions=50,
        in_flight=100,
        keep_alive=(30, 1200),
        rate=100,
        client_id=128,
        session=3600,
    ),
    "azure-iot-hub": Limits(
        "Azure IoT Hub",
        "https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub",
        payload=256 * KIB,
        keep_alive=(0, 1140),
        subscriptions=50,
        in_flight=16,
        client_id=128,
        retain="no",
        versions=("3.1.1",),
        outputs=("devices/{}/messages/events/", "$iothub/"),
        note="it is no broker for topics of one's own: devices/DEVICE/messages/events/ goes in",
    ),
    "azure-event-grid": Limits(
        "Azure Event Grid",
        "https://learn.microsoft.com/azure/event-grid/quotas-limits",
        payload=512 * KIB,
        topic=256,
        slashes=7,
        subscriptions=50,
        keep_alive=(0, 1160),
        rate=1000,
        client_id=128,
        retain="closes",
        retained=64 * KIB,
        session=8 * 3600,
    ),
    "azure-web-pubsub": Limits(
        "Azure Web PubSub (MQTT)",
        "https://learn.microsoft.com/azure/azure-web-pubsub/overview-mqtt",
        payload=1024 * KIB,
        retain="no",
        session=30,
    ),
}


def lint(spec: Any, out: Sequence[Route], into: Sequence[Route], *, keep_alive: int, client_id: str) -> Iterator[Flaw]:
    """Yield what of a bridge's spec its remote would refuse (errors) or not do as meant (warnings), paths from its root."""
    limits = LIMITS.get(spec.broker)
    if limits is None:
        return
    least, most = limits.keep_alive
    if (most and keep_alive > most) or keep_alive < least:
        said = f"{limits.title} takes {least or 1} to {most} seconds"
        yield Flaw(("spec", "remote", "keepAlive"), said, f"keepAlive: {max(min(60, most), least)}s")
    if limits.client_id and len(client_id) > limits.client_id:
        yield Flaw(("spec", "remote", "clientId"), f"{limits.title} takes at most {limits.client_id} characters")
    if spec.remote.version not in limits.versions:
        said = f"{limits.title} speaks MQTT {' and '.join(limits.versions)}"
        yield Flaw(("spec", "remote", "version"), said, f'version: "{limits.versions[0]}"')
    if limits.tls and spec.remote.tls is None:
        yield Flaw(("spec", "remote", "tls"), f"{limits.title} is reached with TLS only", "tls: {}")
    if limits.in_flight and spec.window > limits.in_flight:
        said = f"{limits.title} holds at most {limits.in_flight} messages it has not acknowledged"
        yield Flaw(("spec", "window"), said, f"window: {limits.in_flight}")
    if limits.subscriptions and len(into) > limits.subscriptions:
        said = f"{limits.title} takes at most {limits.subscriptions} subscriptions of a connection"
        yield Flaw(("spec", "in"), said, "fewer filters, with wildcards")
    if limits.session and into:
        said = (
            f"{limits.title} keeps a session for {limits.session} s: what is published there in a longer outage is lost"
        )
        yield Flaw(("spec", "in"), said, warning=True)
    if limits.rate and out:
        said = f"{limits.title} takes {limits.rate} messages a second of a connection: more waits in the buffer"
        yield Flaw(("spec", "out"), said, "readings by window, or fewer topics", warning=True)
    for route in out:
        yield from _outgoing(limits, route)
    for route in into:
        yield from _topic(limits, route.filter, (*route.at, "topic"), "filter")


def _outgoing(limits: Limits, route: Route) -> Iterator[Flaw]:
    rule, at = route.rule, route.at
    yield from _topic(limits, route.output, (*at, "to" if rule.to else "topic"), "topic")
    if limits.payload and rule.max_payload > limits.payload and not route.of_readings:
        said = f"{limits.title} takes payloads of at most {limits.payload} bytes: larger ones would be refused there"
        yield Flaw((*at, "maxPayload"), said, f"maxPayload: {limits.payload}")
    if limits.retain == "closes" and rule.retain == "set":
        said = f"{limits.title} takes retained messages only where its namespace says so, else it ends the connection"
        yield Flaw((*at, "retain"), said, "retain: clear")
    elif limits.retain != "yes" and rule.retain != "clear" and not route.of_readings:
        said = {"closes": "ends the connection at a retained message, unless its namespace allows them"}.get(
            limits.retain, "keeps no retained messages"
        )
        yield Flaw((*at, "retain"), f"{limits.title} {said}", "retain: clear", warning=limits.retain == "no")
    if limits.outputs and not any(_fits(route.output, each) for each in limits.outputs):
        yield Flaw((*at, "to" if rule.to else "topic"), f"{limits.title}: {limits.note}", f"to: {limits.outputs[0]}")


def _topic(limits: Limits, text: str, at: Path, what: str) -> Iterator[Flaw]:
    count = _slashes(text)
    if limits.slashes and count > limits.slashes:
        said = f"{limits.title} takes at most {limits.slashes} slashes, {text} has {count}"
        yield Flaw(at, said, "fewer levels in `to`, or a longer strip")
    elif limits.slashes and text.endswith("#") and what == "topic":
        said = f"{limits.title} takes at most {limits.slashes} slashes: what {text} stands for may have more, and is dropped"
        yield Flaw(at, said, warning=True)
    if limits.topic and len(text.encode()) > limits.topic:
        yield Flaw(at, f"{limits.title} takes at most {limits.topic} bytes of a {what}")


def _slashes(topic: str) -> int:
    """Return the slashes that count: not those of $aws/rules/NAME/."""
    return topic.count("/") - (3 if topic.startswith("$aws/rules/") else 0)


def _fits(output: str, allowed: str) -> bool:
    levels, wanted = output.split("/"), allowed.rstrip("/").split("/")
    return len(levels) >= len(wanted) and all(
        want == "{}" or want == level for want, level in zip(wanted, levels, strict=False)
    )


def fits_remote(product: str, topic: str, payload: bytes) -> str:
    """Return why a broker of this product would not take a message, as a CamelCase word; "" when it would."""
    limits = LIMITS.get(product)
    if limits is None:
        return ""
    if limits.payload and len(payload) > limits.payload:
        return "TooLarge"
    too_deep = limits.slashes and _slashes(topic) > limits.slashes
    return "BadTopic" if too_deep or (limits.topic and len(topic.encode()) > limits.topic) else ""
