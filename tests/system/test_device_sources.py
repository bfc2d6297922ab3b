"""A blueprint brings an input to a site: what a device publishes and pushes there is at the hub, by the rules."""

import json
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import mosquitto
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until

FILES = """apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: inputs}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Inputs
    spec: {port: integer, push: integer}
  resources:
    - id: broker
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: DeviceSource
        metadata: {name: hall-a}
        spec:
          mqtt: {host: 127.0.0.1, port: "${schema.spec.port}", topics: [plant/#], commands: {answer: "done/{device}"}}
          rules:
            - match: plant/{area}/{device}/{metric}
              value: $${payload.v * 2.0}
              unit: Cel
    - id: push
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: DeviceSource
        metadata: {name: push}
        spec:
          http: {port: "${schema.spec.push}"}
---
apiVersion: holdfast.io/v1alpha1
kind: Inputs
metadata: {name: inputs}
spec: {port: @PORT@, push: @PUSH@, placement: {labelSelector: {}}}
"""


def test_a_blueprint_brings_inputs_to_a_site_and_their_readings_to_the_hub(tmp_path: Path) -> None:
    push = mosquitto.free_port()
    hub = Hub(tmp_path / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
    with mosquitto.running("site.conf") as broker, ended(hub):
        hub.start()
        hub.ready()
        agent = Agent(hub, tmp_path / "site", "press-01")
        agent.config.write_text(agent.config.read_text().replace("sources = false", "sources = true"))
        file = tmp_path / "inputs.yaml"
        file.write_text(FILES.replace("@PORT@", str(broker.port)).replace("@PUSH@", str(push)))
        with ended(agent):
            agent.start()
            applied = hub.call("apply", "-f", file)
            assert applied.status == 0, applied.err
            until(lambda: hub.site("press-01")["state"] == "Converged", HANGS_S, "the inputs")
            line = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "plant/a/oven/t", "-m", '{"v": 21.5}']
            subprocess.run(line, check=True)
            body = json.dumps({"device": "cart", "metric": "load", "value": 7}).encode()
            with urllib.request.urlopen(f"http://127.0.0.1:{push}/v1/readings", body) as answer:
                assert answer.status == 202

            def held() -> set[tuple[str, str, object, str]]:
                found = json.loads(hub.call("readings", "--site", "press-01", "-o", "json").out)["items"]
                return {(each["device"], each["metric"], each["value"], each.get("unit", "")) for each in found}

            until(lambda: held() >= {("oven", "t", 43.0, "Cel"), ("cart", "load", 7, "")}, HANGS_S, "the readings")
            # What the page on device sources says of commands, from the hub to the device and back.
            listen = ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-i", "oven", "-c", "-t", "commands/oven/+"]
            subprocess.run([*listen, "-E"], check=True)  # from here on the broker keeps what it misses
            ear = subprocess.Popen([*listen, "-C", "1"], stdout=subprocess.PIPE)
            with ear, ThreadPoolExecutor(1) as threads:
                words = ["device", "command", "press-01/oven", "open", "--data", "5", "--deadline", "30s", "--wait"]
                ordered = threads.submit(hub.call, *words)
                given = json.loads(ear.communicate(timeout=30)[0])
                word = json.dumps({"id": given["id"], "opened": given["data"]})
                subprocess.run([*line[:5], "-t", "done/oven", "-m", word], check=True)
                told = ordered.result()
            assert (told.status, "answered" in told.out, '"opened": 5' in told.out) == (0, True, True), told
            refused = hub.call("device", "command", "press-01/cart", "open", "--deadline", "30s", "--wait")
            assert (refused.status, "NoWay" in refused.out + refused.err) == (1, True), refused

            shown = agent.call("ingest")
            assert "DeviceSource/hall-a connected" in " ".join(shown.out.split())
            seen = json.loads(agent.call("ingest", "-o", "json").out)["sources"]
            assert (seen["DeviceSource/hall-a"]["readings"], seen["DeviceSource/push"]["phase"]) == (1, "connected")
