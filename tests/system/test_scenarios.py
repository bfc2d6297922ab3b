"""Scenarios people of other fleets ran into, as tests. Where each one lives:

| scenario | pass rule | test |
|---|---|---|
| four fifths of all packets lost, 2.5 s round trip | workloads start without the hub; converges when the link allows | here |
| a container dead, its image local, no hub | recreated | test_cut_off_site.py |
| boot in 1970, later a jump to today | nothing removed, timers sane | test_faults_site.py: "whose clock is wrong" |
| 30 days offline with a reboot at day 20 | state kept | here, on real processes and on a fake clock |
| 25 days and more with a certificate to renew | local brokers and workloads go on | here: "asks the hub's time" |
| workload deleted at the hub while the agent is away | removed on reconnect | here |
| configuration changed while away | applied, dependants restarted | test_cut_off_site.py |
| agent killed in the middle of an apply | orphans found, ended | here; test_container_health.py: "a kill at any point" |
| yesterday's hub database put back | no site moves back | test_faults_hub.py: "put back to an old copy" |
| a firewall change that cuts the way to the hub | gone back from by itself | test_dead_man.py: "a firewall that cuts" |
| shell metacharacters in every string of a target | inert | test_hostile_strings.py |
| reboot with no network | everything back from local state | test_cut_off_site.py |
"""

import json
import random
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import proxy
from support import slice as slices
from support.builders import a_target, file_body
from support.clock import FakeClock, Running, eventually
from support.fleet import BIN
from support.provider import FakeProvider
from support.site import TestSite
from support.slice import KEPT, SITE, Slice
from support.waiting import BOOTED_S, HANGS_S, until
from support.wrong_clock import DAY, WrongClock

AWFUL_RTT = 2.5  # seconds
AWFUL_LOSS = 0.8


def alone(whole: Slice) -> None:
    """Leave the site to itself: no hub, no broker between."""
    whole.hub.kill()
    whole.broker.kill()


def waiting(whole: Slice) -> int:
    """Return how many readings wait for the hub; 0 while the agent does not answer."""
    return int(whole.status().get("outbox", {}).get("p3", {}).get("rows", 0))


def together(whole: Slice) -> None:
    whole.broker.start()
    whole.hub.start()
    whole.hub.ready()


def test_over_a_link_that_loses_four_packets_of_five_a_site_runs_as_before_and_converges_in_the_end(
    tmp_path: Path,
) -> None:
    with slices.running(tmp_path) as whole, proxy.beside("127.0.0.1", whole.broker.port) as line:
        whole.agent.kill()
        config = whole.agent.config
        config.write_text(config.read_text().replace(f"port = {whole.broker.port}", f"port = {line.port}", 1))
        line.chance = random.Random(7318)
        line.latency_s, line.loss, line.retry_s = AWFUL_RTT / 2, 1.0, 0.02
        whole.kept.unlink()
        whole.agent.start()
        until(whole.kept.exists, HANGS_S, "the file to be made again while nothing gets through")
        assert whole.kept.read_text() == KEPT
        assert whole.status()["link"]["doing"] != "settled"
        line.loss = AWFUL_LOSS
        whole.apply("two")
        whole.converged("two", within=BOOTED_S)
        assert line.connections >= 1


def test_a_month_offline_with_a_reboot_after_twenty_days_costs_a_site_nothing(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True, online=False) as whole:
        whole.hub.stop()
        clock = WrongClock(whole.folder, 0.0, whole.agent, whole.hub)
        whole.hub.start()
        whole.hub.ready()
        whole.agent.start()
        whole.apply("one")
        whole.converged("one")
        before = whole.identity()
        device = whole.device()
        device.send(20)
        whole.arrived(device)
        known = len(device.sent)
        held = whole.agent.call("hold", "File/said", "--for", "25d", "--reason", "long trial", "-o", "json")
        assert held.status == 0, held.err
        alone(whole)
        for day, reboots in ((10, False), (20, True), (24, False)):
            if reboots:
                whole.agent.kill()
            clock.step(day * DAY)
            if reboots:
                whole.agent.start()
            device.send(20)
            until(lambda: waiting(whole) >= len(device.sent) - known, HANGS_S, f"readings of day {day}")
            until(lambda: whole.status()["status"]["state"] == "Converged", HANGS_S, "the site to be as wanted")
            status = whole.status()["status"]
            assert (status["state"], status["generation"]) == ("Converged", 1)
            assert [hold["reason"] for hold in status["holds"]] == ["long trial"]
            assert whole.identity() == before
        clock.step(30 * DAY)
        whole.kept.unlink()
        until(whole.kept.exists, HANGS_S, "a repair on day 30")
        together(whole)
        whole.apply("two")
        whole.arrived(device)
        released = whole.agent.call("hold", "--release", json.loads(held.out)["hold"]["id"])
        assert released.status in (0, 3), released.err  # its time by the node's own hours may be over
        whole.converged("two")


@pytest.mark.anyio
@pytest.mark.invariant("every-hold-expires")
async def test_what_a_site_remembers_goes_through_a_new_boot_after_twenty_days_and_ends_when_it_should(
    tmp_path: Path,
) -> None:
    clock, provider = FakeClock(), FakeProvider("File")
    it = TestSite(tmp_path, provider, clock=clock)
    async with Running(*it.loops()):
        await it.give(a_target(file_body("a"), file_body("b")))
        await it.reaches("Converged")
        hold = await it.site.holds.make(
            reason="trial", seconds=25 * DAY, resources=("File/b",), by="uid 0", now=it.site.moment()
        )
    it.close()
    clock.advance(20 * DAY)
    again = TestSite(tmp_path, provider, clock=clock, boot="another boot")
    provider.world.clear()
    async with Running(*again.loops()):
        await eventually(lambda: "File/a" in provider.world, "the repair after the boot, with no hub")
        assert again.condition("File/b") == ("Held", "Hold")
        assert [each.id for each in again.site.holds.active(again.site.moment())] == [hold.id]
        await again.passes(6 * DAY)
        await eventually(lambda: "File/b" in provider.world, "the end of the hold")
        await again.passes(4 * DAY)
        await again.reaches("Converged", 1)
        assert not [verb for verb, _ in provider.changes() if verb == "remove"]
    again.close()


@pytest.mark.invariant("hub-silence-changes-nothing")
def test_nothing_at_a_site_asks_the_hub_s_time_or_ends_with_a_date(tmp_path: Path) -> None:
    """A year and a month: longer than any certificate of the hub would last."""
    with slices.running(tmp_path, devices=True, online=False) as whole:
        clock = WrongClock(whole.folder, 0.0, whole.agent)
        whole.agent.start()
        whole.apply("one")
        whole.converged("one")
        before = whole.identity()
        alone(whole)
        clock.step(400 * DAY)
        device = whole.device()
        device.send(20)
        until(lambda: waiting(whole) >= len(device.sent), HANGS_S, "readings taken")
        assert whole.identity() == before
        whole.said.unlink()
        until(whole.said.exists, HANGS_S, "a repair")
        whole.agent.kill()
        whole.agent.start()
        device.send(20)
        until(lambda: waiting(whole) >= len(device.sent), HANGS_S, "readings after a restart")
        assert whole.status()["status"]["state"] == "Converged"
        together(whole)
        whole.arrived(device)
        whole.apply("two")
        whole.converged("two")


@pytest.mark.invariant("only-owned-things-are-removed")
def test_what_was_deleted_at_the_hub_while_the_agent_was_away_goes_when_it_is_back(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        (whole.agent.root / "foreign").write_text("not ours")
        whole.agent.kill()
        assert whole.hub.call("delete", "instance", "pair", "--yes").status == 0
        assert whole.kept.exists()
        whole.agent.start()
        until(lambda: not whole.kept.exists() and not whole.said.exists(), HANGS_S, "what is not wanted any more to go")
        until(lambda: whole.state() == "Converged", HANGS_S, "the hub to know")
        assert [each.name for each in whole.agent.root.iterdir()] == ["foreign"]


def test_a_change_made_while_the_agent_was_away_is_applied_when_it_is_back_and_only_the_last_one(
    tmp_path: Path,
) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        whole.agent.kill()
        for word in ("two", "three", "four"):
            generation = whole.apply(word)
        whole.agent.start()
        whole.converged("four")
        assert whole.identity()[0] == before[0], "what did not change was not touched"
        told = {each["generation"] for each in whole.hub.site(SITE)["reports"] if each["level"] == "A1"}
        assert told == {1, generation}


def test_an_agent_killed_in_the_middle_of_an_apply_leaves_nothing_that_nobody_owns(tmp_path: Path) -> None:
    chance = random.Random(6540)
    with slices.running(tmp_path) as whole:
        for number in range(6):
            whole.apply(f"word-{number}")
            until(lambda: chance.random() < 0.2, HANGS_S, "some moment", every=0.02)
            whole.agent.kill()
            whole.agent.start()
        whole.converged("word-5")
        assert whole.hub.call("delete", "instance", "pair", "--yes").status == 0
        until(lambda: not list(whole.agent.root.iterdir()), HANGS_S, "everything it made, half or whole, to go")


def test_readings_plan_and_page_are_there_with_no_hub(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        whole.agent.kill()
        socket = tmp_path / "page.sock"
        with whole.agent.config.open("a") as config:
            config.write(f'\n[page]\nlisten = "unix:{socket}"\n')
        alone(whole)
        whole.agent.start()
        device = whole.device("scale")
        device.send(10)

        def newest() -> float:
            answer = whole.agent.call("readings", "scale", "-o", "json")
            return max((each["value"] for each in answer.json["readings"]), default=0) if answer.out else 0

        until(lambda: newest() >= len(device.sent), HANGS_S, "the newest reading")
        text = whole.agent.call("readings").out
        assert "DEVICE" in text
        assert "scale" in text
        journal = whole.agent.call("journal", "-o", "json").json["journal"]
        assert {"File/kept", "File/said"} <= {line["key"] for line in journal}
        assert whole.agent.call("plan").status == 0
        refused = whole.agent.call("logs", "File/kept")
        assert (refused.status, "writes no logs" in refused.err) == (3, True)
        with beside(whole, "--listen", "127.0.0.1:0") as url:
            with urllib.request.urlopen(f"{url}v1/overview", timeout=20) as answer:
                found = json.load(answer)
            assert found["status"]["state"] == "Converged"
            assert found["profile"] in ("micro", "mini", "standard")
            assert found["budgets"]["changes_at_once"] >= 1
        assert socket.is_socket()


@contextmanager
def beside(whole: Slice, *words: str) -> Iterator[str]:
    """Run `holdfast-edge page` beside the agent; yield where it is."""
    config = ["--config", str(whole.agent.config)]
    with subprocess.Popen(
        [str(BIN / "holdfast-edge"), "page", *config, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("open ").strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(HANGS_S) == 130
