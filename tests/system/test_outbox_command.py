"""`holdfast-edge outbox` on a running agent, and on what a stopped one left."""

from pathlib import Path

from support import mosquitto
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until


def test_the_outbox_is_shown_by_the_agent_and_when_it_is_stopped_from_its_disk(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub", listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(hub):
        hub.start()
        hub.ready()
        agent = Agent(hub, tmp_path / "site", "press-01")
        with agent.config.open("a") as config:
            config.write('\n[metered]\nbytes_per_day = 50000000\nschedule = "0 0 1 1 *"\nduration = "1m"\n')
        with ended(agent):
            agent.start()
            until(lambda: agent.call("outbox", "-o", "json").status == 0, HANGS_S, "the agent to answer")
            running = agent.call("outbox", "-o", "json")
            assert running.status == 0, running.err
            answer = running.json
            assert answer["running"]
            assert list(answer["classes"]) == ["p0", "p1", "p2", "p3"]
            assert answer["classes"]["p3"]["quota"] > 0
            assert answer["budget"]["left"] == 50_000_000
            text = agent.call("outbox").out
            assert text.splitlines()[0].split() == ["CLASS", "ROWS", "BYTES", "FULL", "OLDEST", "LASTS", "LOST"]
            assert "50.0 MB of today's budget left" in text
            agent.stop()
            stopped = agent.call("outbox", "-o", "json")
            assert not stopped.json["running"]
            assert set(stopped.json["classes"]) == {"p0", "p1", "p2", "p3"}
            assert "not running" in stopped.err
            assert stopped.status != 0
