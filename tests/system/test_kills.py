"""Kills at random moments, of agent, hub and broker: not one reading lost or doubled, the site as it should be. And power
cuts: old or new state of each resource, never half. `scripts/bench kills` is the long form."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support import crashes, machines, mosquitto
from support.fleet import Agent, Hub, ended, kill_one, published, publishers
from support.waiting import BOOTED_S, HANGS_S, until

KILLS = 200
SEED = 20261121
SPREAD = 0.35  # seconds a victim lives on average before the next kill
APPLYING_KILLS = 12
CUTS = 10


def instance(path: Path, generation: int) -> str:
    return (
        "apiVersion: holdfast.io/v1alpha1\nkind: Hello\nmetadata:\n  name: kills\nspec:\n"
        f"  path: {path}\n  greeting: generation {generation}\n"
        "  placement:\n    labelSelector: {}\n"
    )


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.invariant("every-loss-is-counted")
def test_no_reading_is_lost_or_doubled_and_the_site_follows_through_two_hundred_kills(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    blueprint = Path(__file__).resolve().parents[2] / "docs/examples/hello/blueprint.yaml"
    with mosquitto.running("hub.conf") as broker, mosquitto.running("site.conf") as site_broker:
        hub = Hub(tmp_path / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        with ended(hub):
            hub.start()
            hub.ready()
            agent = Agent(hub, tmp_path / "site", "press-01", devices=site_broker.port)
            file = agent.root / "motd"
            assert hub.call("apply", "-f", blueprint).status == 0
            devices, sent = publishers(tmp_path, site_broker.port, 3)
            with ended(agent, *devices):
                agent.start()
                until(lambda: hub.site("press-01")["online"], HANGS_S, "the agent to be seen")
                for device in devices:
                    device.start()
                generation = 0
                for number in range(KILLS):
                    if number % 20 == 0 and hub.alive:
                        generation += 1
                        hub.call("apply", "-f", "-", given=instance(file, generation))
                    time.sleep(chance.expovariate(1 / SPREAD))  # the moment of the kill is the point of the test
                    kill_one(chance, agent, hub, broker)
                hub.ready(60)
                generation += 1
                final = hub.call("apply", "-f", "-", given=instance(file, generation))
                assert final.status == 0, final.err
                for device in devices:
                    assert device.stop() == 0
                wanted = published(sent)
                until(lambda: stored(hub).total() >= wanted.total(), BOOTED_S, "every reading at the hub", every=0.5)
                assert stored(hub) == wanted
                assert len(wanted) > 3 * KILLS, "the devices hardly published"
                until(lambda: hub.site("press-01")["state"] == "Converged", HANGS_S, "convergence", every=0.3)
                assert file.read_text() == f"generation {generation}, site\n"
                ledger = until(lambda: exact(hub), HANGS_S, "an exact ledger with nothing pending", every=0.5)
                assert all(stream["tombstoned"] == 0 for stream in ledger["streams"])


def stored(hub: Hub) -> Counter[tuple[str, int]]:
    answer = hub.call("readings", "--site", "press-01", "--limit", "100000", "-o", "json")
    assert answer.status == 0, answer.err
    return Counter((item["device"], int(item["value"])) for item in answer.json["items"])


def exact(hub: Hub) -> dict | None:  # type: ignore[type-arg]
    ledger = hub.call("ledger", "press-01", "-o", "json").json
    done = ledger["exact"] and not any(stream["pending"] for stream in ledger["streams"])
    return ledger if done else None


@pytest.mark.root
@pytest.mark.invariant("intent-before-effect")
def test_a_loop_killed_while_it_applies_comes_to_its_target_by_itself() -> None:
    assert machines.why_not() == ""
    with machines.lab() as lab:
        (machine,) = lab.boot("press-01")
        machine.run(["mkdir", "/srv/crashes"])
        words = crashing("kills", Path("/srv/crashes"), APPLYING_KILLS)
        ended = json.loads(machine.run(words, timeout=110).stdout)
    assert ended["mend"] == []
    assert ended["count"] == APPLYING_KILLS
    assert ended["targets"]


@pytest.mark.root
@pytest.mark.invariant("commit-before-ack")
def test_after_a_power_cut_every_file_is_old_or_new_and_the_rest_is_finished(tmp_path: Path) -> None:
    done = subprocess.run(
        crashing("cuts", tmp_path, CUTS), capture_output=True, text=True, timeout=BOOTED_S, check=True
    )
    ended = json.loads(done.stdout)
    assert ended["mend"] == [], done.stderr
    assert ended["count"] == CUTS
    assert ended["targets"]


def crashing(way: str, folder: Path, count: int) -> list[str]:
    tests = Path(crashes.__file__).parents[1]
    return [
        "env",
        f"PYTHONPATH={tests}",
        sys.executable,
        "-m",
        "support.crashes",
        way,
        str(folder),
        str(count),
        str(SEED),
    ]
