"""What happens to broker and hub, and what it may cost: nothing at the sites, and every reading accounted for."""

import base64
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from holdfast_protocol.wire import strict, target, topics
from holdfast_protocol.wire.names import SiteName
from holdfast_protocol.wire.topics import Address
from support import slice as slices
from support import tap
from support.slice import SITE, Slice
from support.waiting import HANGS_S, until


def generation_of(sealed: bytes) -> int:
    """Return the generation of a target, unverified; 0 for nothing."""
    return int(strict.decode(_payload(sealed), target.Target, limit=1 << 22).generation) if sealed else 0


def _payload(sealed: bytes) -> bytes:
    return base64.b64decode(json.loads(sealed)["payload"])


def copied(whole: Slice, folder: Path, *names: str) -> None:
    """Stop the hub, copy databases of its and start it again."""
    assert whole.hub.stop() == 0
    folder.mkdir()
    for name in names:
        shutil.copy(whole.hub.data / name, folder)
    whole.hub.start()
    whole.hub.ready()


def put_back(whole: Slice, folder: Path) -> None:
    """Stop the hub, put the copies in the place of its databases and start it again."""
    whole.hub.kill()
    for copy in folder.iterdir():
        for part in ("-wal", "-shm"):
            (whole.hub.data / (copy.name + part)).unlink(missing_ok=True)
        shutil.copy(copy, whole.hub.data)
    whole.hub.start()
    whole.hub.ready()


def test_a_broker_wiped_while_everybody_runs_is_given_its_targets_again_and_the_site_notices_nothing(
    tmp_path: Path,
) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        whole.broker.wipe()
        until(lambda: tap.retained(whole.broker.port, whole.target_topic), HANGS_S, "the target to be retained again")
        assert generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 1
        until(lambda: whole.state() == "Converged", HANGS_S, "the site to be heard of again")
        assert whole.identity() == before
        whole.apply("two")
        whole.converged("two")
        assert whole.identity()[0] == before[0], "what did not change was not touched"


def test_a_broker_wiped_while_the_hub_is_down_is_given_what_the_hub_has_committed(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        whole.agent.kill()
        assert whole.apply("two") == 2
        whole.hub.kill()
        whole.broker.wipe()
        whole.agent.start()
        until(
            lambda: (whole.status().get("link") or {}).get("doing") == "connected",
            HANGS_S,
            "the agent at the empty broker",
        )
        assert whole.identity() == before, "a missing target removes nothing"
        whole.hub.start()
        whole.hub.ready()
        whole.converged("two")
        assert whole.identity()[0] == before[0]
        assert generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 2


def test_a_broker_put_back_to_an_old_state_takes_no_site_back_and_is_put_right_by_the_hub(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        whole.broker.stop()
        old = tmp_path / "old.db"
        shutil.copy(whole.broker.store, old)
        whole.broker.start()
        assert whole.apply("two") == 2
        whole.converged("two")
        before = whole.identity()
        whole.broker.kill()
        shutil.copy(old, whole.broker.store)
        whole.broker.start()
        until(lambda: "Stale" in whole.refusals(), HANGS_S, "the site to refuse the older target and say so")
        until(
            lambda: generation_of(tap.retained(whole.broker.port, whole.target_topic)) == 2,
            HANGS_S,
            "the hub to put the newest target in its place",
        )
        until(lambda: not whole.problems(), HANGS_S, "the site to have no problem any more")
        assert whole.identity() == before
        assert whole.state() == "Converged"


def test_a_hub_put_back_to_an_old_copy_tells_a_site_ahead_of_it_nothing_until_a_person_adopts_it(
    tmp_path: Path,
) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        assert whole.hub.call("site", "add", "press-02").status == 0
        device = whole.device()
        device.send(50)
        whole.arrived(device)
        copied(whole, tmp_path / "old", "hub.db")
        assert whole.apply("two") == 2
        whole.converged("two")
        device.send(50)
        whole.arrived(device)
        before = whole.identity()
        beacon = topics.topic(Address("beacon", SITE))
        elsewhere = topics.topic(Address("target", SiteName("press-02")))
        with tap.listening(whole.broker.port, whole.target_topic, beacon, elsewhere) as heard:
            put_back(whole, tmp_path / "old")
            until(lambda: whole.state() == "Conflict", HANGS_S, "the hub to see that the site is ahead")
            device.send(50)
            whole.arrived(device)
            heard.clear()
            for count, word in enumerate(("three", "four"), 1):
                whole.apply(word)
                until(lambda count=count: len(heard) >= count, HANGS_S, "what the other site is to be")
            assert {each.topic for each in heard} == {elsewhere}, "nothing is published to the site in conflict"
            assert whole.state() == "Conflict"
            assert whole.identity() == before
            until(lambda: "somebody must decide at the hub" in whole.problems(), HANGS_S, "the site to be told")
        assert whole.hub.call("site", "adopt", SITE, "--yes").status == 0
        whole.converged("four")
        assert whole.apply("five") > 2
        whole.converged("five")
        assert whole.identity()[0] == before[0], "what did not change was not touched"
        until(lambda: not whole.problems(), HANGS_S, "the site and the hub to agree")
        device.send(50)
        whole.arrived(device)


def test_readings_a_restored_hub_no_longer_has_are_told_as_gone_and_all_others_are_there_once(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        device = whole.device()
        device.send(50)
        whole.arrived(device)
        kept = set(device.sent)
        copied(whole, tmp_path / "old", "hub.db", "readings.db")
        device.send(50)
        whole.arrived(device)  # acknowledged, so the node has let them go
        gone = set(device.sent) - kept
        put_back(whole, tmp_path / "old")
        device.send(50)
        wanted = Counter((device.name, number) for number in device.sent if number not in gone)
        until(lambda: whole.stored().total() >= wanted.total(), HANGS_S, "the readings after the restore")
        assert whole.stored() == wanted
        until(whole.is_settled, HANGS_S, "an account of all")
        (account,) = whole.ledger("p3")
        assert (account["stored"], account["tombstoned"]) == (len(wanted), len(gone))
        assert {reason for _, _, reason in account["gaps"]} == {"Released"}
        assert sum(last - first + 1 for first, last, _ in account["gaps"]) == len(gone)


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
def test_garbage_in_a_site_s_name_is_counted_and_shown_and_everything_behind_it_is_heard(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        garbage = (b"", b"\x00\xff\xfe", b"{", b"[" * 5000, b'{"payloadType": 1}', bytes(range(256)) * 4000)
        for channel, stream in (("hello", ""), ("status", ""), ("presence", ""), ("up", "p0"), ("up", "p3")):
            tap.publish(whole.broker.port, whole.node_topic(channel, stream), *garbage)
        device = whole.device()
        device.send(50)
        whole.arrived(device)
        whole.apply("two")
        whole.converged("two")
        shown = "\n".join(whole.hub.site(SITE)["problems"])
        for channel in ("hello", "status", "presence", "up"):
            assert f"{channel}: " in shown
        times = re.findall(r"\((\d+) times\)", shown)
        assert sum(map(int, times)) == 5 * len(garbage) - 1, "an erased presence means nothing, all else is counted"
        described = whole.hub.call("describe", "site", SITE).out
        assert "hello: BadJson" in described
