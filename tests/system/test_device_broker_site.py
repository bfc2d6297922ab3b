"""A site without a broker: the agent runs one from a line of its kit, and what devices say there is at the hub."""

import json
import signal
import subprocess
from pathlib import Path

from holdfast_edge.settings import DOOR
from support import mosquitto
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until


def test_what_devices_say_to_the_agent_s_own_broker_is_at_the_hub_over_restarts_of_the_agent(tmp_path: Path) -> None:
    port = mosquitto.free_port()
    hub = Hub(tmp_path / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(hub):
        hub.start()
        hub.ready()
        agent = Agent(hub, tmp_path / "site", "press-01", own_broker=port)
        door = tmp_path / "site" / "state" / "broker" / DOOR

        def publish(number: int) -> None:
            line = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", "devices/press-1/pressure", "-m", str(number)]
            subprocess.run(line, check=True)

        def held() -> list[int]:
            found = json.loads(hub.call("readings", "--site", "press-01", "-o", "json").out)["items"]
            return sorted(each["value"] for each in found)

        def connected() -> bool:
            shown = agent.call("ingest", "-o", "json")
            return shown.status == 0 and json.loads(shown.out)["sources"]["devices"]["phase"] == "connected"

        with ended(agent):
            agent.start()
            until(connected, HANGS_S, "the agent at its broker")
            publish(1)
            until(lambda: held() == [1], HANGS_S, "the first reading")
            agent.process.send_signal(signal.SIGKILL)
            agent.process.wait()
            until(lambda: not mosquitto.standing_in(door.parent), HANGS_S, "the broker to end with its agent")
            agent.start()
            until(connected, HANGS_S, "the agent at its broker again")
            publish(2)
            until(lambda: held() == [1, 2], HANGS_S, "the second reading")
