"""What a DeviceSource of type sparkplug or amqp may say."""

from typing import Any

import pytest

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.device_source import wanted

SPARKPLUG = {"host": "10.0.0.5"}
AMQP = {"host": "rabbit.lan", "queue": "readings"}


@pytest.mark.parametrize(
    "spec",
    [
        {"sparkplug": SPARKPLUG},
        {"sparkplug": SPARKPLUG | {"groups": ["Plant 1"], "hostId": "scada", "version": "3.1.1", "tls": {}}},
        {"amqp": AMQP},
        {"amqp": AMQP | {"exchange": "amq.topic", "keys": ["#"], "prefetch": 2000, "virtualHost": "/plant"}},
        {"amqp": AMQP, "format": "cbor", "rules": [{"match": "{device}/{metric}", "value": "${payload}"}]},
    ],
)
def test_these_are_accepted(spec: dict[str, Any]) -> None:
    assert wanted(spec, "line").type in spec


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"sparkplug": SPARKPLUG | {"host": "a b"}}, "spec.sparkplug.host"),
        ({"sparkplug": SPARKPLUG | {"port": 65536}}, "spec.sparkplug.port"),
        ({"sparkplug": SPARKPLUG | {"groups": ["a/b"]}}, "spec.sparkplug.groups"),
        ({"sparkplug": SPARKPLUG | {"groups": ["+"]}}, "spec.sparkplug.groups"),
        ({"sparkplug": SPARKPLUG | {"hostId": "a/b"}}, "spec.sparkplug.hostId"),
        ({"sparkplug": SPARKPLUG | {"clientId": "a b"}}, "spec.sparkplug.clientId"),
        ({"sparkplug": SPARKPLUG | {"keepAlive": "1s"}}, "spec.sparkplug.keepAlive"),
        ({"sparkplug": SPARKPLUG, "format": "csv"}, "spec.rules"),
        ({"sparkplug": SPARKPLUG, "rules": [{"match": "{device}/{metric}", "value": "${payload}"}]}, "spec.rules"),
        ({"sparkplug": SPARKPLUG, "amqp": AMQP}, "spec"),
        ({"amqp": AMQP | {"queue": ""}}, "spec.amqp.queue"),
        ({"amqp": AMQP | {"queue": "ä" * 200}}, "spec.amqp.queue"),
        ({"amqp": AMQP | {"exchange": "x"}}, "spec.amqp.keys"),
        ({"amqp": AMQP | {"keys": ["#"]}}, "spec.amqp.keys"),
        ({"amqp": AMQP | {"exchange": "x", "keys": [""]}}, "spec.amqp.keys"),
        ({"amqp": AMQP | {"prefetch": 0}}, "spec.amqp.prefetch"),
        ({"amqp": AMQP | {"prefetch": 2001}}, "spec.amqp.prefetch"),
        ({"amqp": AMQP | {"username": "x"}}, "spec.amqp.password"),
        ({"amqp": AMQP | {"tls": {"serverName": "other"}}}, "spec.amqp.tls.serverName"),
        ({"amqp": AMQP, "format": "cbor"}, "spec.rules"),
    ],
    ids=str,
)
def test_these_are_refused_with_their_place(spec: dict[str, Any], place: str) -> None:
    with pytest.raises(WireError) as caught:
        wanted(spec, "line")
    assert caught.value.message.startswith(f"{place}:")
