"""Devices of a site: each publishes 1, 2, 3, … as readings to the site's broker at QoS 1, one after the other.

A number counts as sent when the broker has taken it for a subscriber; until then it is published again, so none is left out.
At SIGTERM the devices finish the number they are at, and `--sent FILE` gets {device: last number}.
"""

import argparse
import json
import signal
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

NO_SUBSCRIBER = 0x10  # MQTT 5: taken, and thrown away
ANSWER_S = 30.0


class Device:
    """One device with its own connection."""

    def __init__(self, name: str, metric: str, host: str, port: int) -> None:
        self.name = name
        self.topic = f"devices/{name}/{metric}"
        self.sent = 0  # the last number taken
        self._taken: ReasonCode | None = None
        self._answered = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.on_publish = self._on_publish
        self._client.connect(host, port)
        self._client.loop_start()

    def _on_publish(self, *answer: object) -> None:
        code = answer[3]
        assert isinstance(code, ReasonCode)
        self._taken = code
        self._answered.set()

    def publish(self) -> None:
        """Publish the next number; it stays the next one unless the broker has taken it."""
        self._answered.clear()
        number = self.sent + 1
        self._client.publish(self.topic, json.dumps({"value": number, "time": time.time_ns() // 1_000_000}), qos=1)
        if not self._answered.wait(ANSWER_S):
            raise TimeoutError(f"{self.name}: the broker did not answer for {ANSWER_S:g} s")
        if self._taken is not None and self._taken.value != NO_SUBSCRIBER:
            self.sent = number

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--device", action="append", required=True, dest="devices")
    parser.add_argument("--metric", default="part")
    parser.add_argument("--every-ms", type=float, default=100)
    parser.add_argument("--sent", type=Path, required=True)
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    devices = [Device(name, options.metric, options.host, options.port) for name in options.devices]
    while not ended.wait(options.every_ms / 1000):
        for device in devices:
            device.publish()
    for device in devices:
        device.close()
    options.sent.parent.mkdir(parents=True, exist_ok=True)
    options.sent.write_text(json.dumps({device.name: device.sent for device in devices}))


if __name__ == "__main__":
    main()
