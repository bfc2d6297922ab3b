"""A blueprint brings a bridge to a site: real hub, real agent, two brokers; and how it does is told at both."""

import json
from pathlib import Path
from typing import Any

from support import mosquitto, tap
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until

FILES = """apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: cloud}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Cloud
    spec: {port: integer}
  resources:
    - id: bridge
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: Bridge
        metadata: {name: cloud}
        spec:
          remote: {host: 127.0.0.1, port: "${schema.spec.port}"}
          preset: unified-namespace
          values: {path: "acme/{label.area}/{site}"}
          out:
            - {topic: "alarms/#", prefix: "acme/{site}/"}
          in:
            - {topic: "acme/{site}/orders/#", strip: "acme/{site}/"}
---
apiVersion: holdfast.io/v1alpha1
kind: Cloud
metadata: {name: cloud}
spec: {port: @PORT@, placement: {labelSelector: {}}}
"""
HUBS = """apiVersion: holdfast.io/v1alpha1
kind: Bridge
metadata: {name: lake}
spec:
  run: hub
  remote: {host: 127.0.0.1, port: @PORT@}
  out: [{source: readings, to: "lake/{site}/{device}/{metric}", form: value}]
"""


def test_a_bridge_of_a_site_and_one_of_the_hub_hand_over_what_a_device_says(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
    with mosquitto.running("site.conf") as site, mosquitto.running("hub.conf") as far, ended(hub):
        hub.start()
        hub.ready()
        agent = Agent(hub, tmp_path / "site", "press-01", devices=site.port)
        agent.config.write_text(agent.config.read_text().replace("bridges = false", "bridges = true"))
        assert hub.call("site", "label", "press-01", "area=press").status == 0
        file, own = tmp_path / "cloud.yaml", tmp_path / "lake.yaml"
        file.write_text(FILES.replace("@PORT@", str(far.port)))
        own.write_text(HUBS.replace("@PORT@", str(far.port)))
        own.with_name("bad.yaml").write_text(
            own.read_text().replace("  run: hub", "  run: hub\n  broker: azure-event-grid")
        )
        refused = hub.call("apply", "-f", own.with_name("bad.yaml"))
        assert refused.status != 0
        assert "bad.yaml:7:" in refused.err
        assert "Azure Event Grid is reached with TLS only" in refused.err
        with ended(agent):
            agent.start()
            for each in (file, own):
                applied = hub.call("apply", "-f", each)
                assert applied.status == 0, applied.err
            until(lambda: hub.site("press-01")["state"] == "Converged", HANGS_S, "the bridge")
            until(lambda: hub.call("bridge", "status", "hub/lake").status == 0, HANGS_S, "the hub's bridge")
            with tap.listening(far.port, "acme/#", "lake/#") as there, tap.listening(site.port, "orders/#") as here:
                tap.publish(site.port, "devices/oven/t", b"21.5")
                tap.publish(site.port, "alarms/fire", b"1")
                tap.publish(far.port, "acme/press-01/orders/1", b"go")

                def told() -> set[tuple[str, bytes]]:
                    return {(each.topic, each.payload) for each in there}

                until(lambda: ("lake/press-01/oven/t", b"21.5") in told(), HANGS_S, "the reading by the hub")
                until(lambda: ("acme/press-01/alarms/fire", b"1") in told(), HANGS_S, "the alarm")
                until(lambda: any(topic == "acme/press/press-01/oven/t" for topic, _ in told()), HANGS_S, "the reading")
                until(lambda: [each.topic for each in here] == ["orders/1"], HANGS_S, "the order")

            def shown(name: str) -> dict[str, Any]:
                answer = hub.call("bridge", "status", name, "-o", "json")
                return dict(json.loads(answer.out)["items"][0]) if answer.status == 0 else {}

            until(lambda: bool(shown("press-01/cloud")), HANGS_S, "the site's word on its bridge")
            assert shown("hub/lake")["ways"]["out"]["sent"] == 1
            table = hub.call("bridge", "status")
            assert (table.status, table.out.count("connected")) == (0, 2)
            local = agent.call("bridge")
            assert local.status == 0, local.err
            assert "cloud" in local.out
            assert json.loads(agent.call("bridge", "-o", "json").out)["bridges"][0]["ways"]["in"]["sent"] == 1
            assert "no bridge 'other'" in agent.call("bridge", "other").err
            assert hub.call("get", "bridges").out.count("lake") == 1
            far.stop()
            until(lambda: agent.call("bridge").status == 1, HANGS_S, "the loss of the remote")
