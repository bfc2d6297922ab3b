"""What is done to a site: forged targets, lost and damaged state, a full disk, a wrong clock. It holds what it has."""

import base64
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from holdfast_protocol.wire import digest, envelope, strict, target, topics
from holdfast_protocol.wire.target import Content, Target
from support import plain, tap
from support import slice as slices
from support.builders import STRANGER, a_target, file_body
from support.slice import KEPT, SITE, Slice
from support.waiting import HANGS_S, until
from support.wrong_clock import SINCE_1970, YEAR, WrongClock


def opened(sealed: bytes) -> Target:
    """Return the target in an envelope, unverified."""
    payload = base64.b64decode(json.loads(sealed)["payload"])
    return strict.decode(payload, Target, limit=len(payload))


def forged(whole: Slice, older: bytes) -> dict[str, bytes]:
    """Return targets that must not be taken by a site that holds `two`, each by the reason it is refused for."""
    signer = envelope.Signer(base64.b64decode((whole.hub.data / "hub.key").read_bytes()))
    good = tap.retained(whole.broker.port, whole.target_topic)
    held = opened(good)
    empty = Content()
    later = msgspec.structs.replace(held, generation=held.generation + 7)
    gone = msgspec.structs.replace(later, content=empty, digest=digest.digest(empty))
    swapped = json.loads(good)
    swapped["payload"] = base64.b64encode(strict.encode(gone)).decode()
    return {
        "BadEncoding": b"\x00\xff garbage",
        "BadJson": good[: len(good) // 2],
        "TooLarge": good + b" " * (topics.TABLE["target"].limit + 1),
        "BadSignature": json.dumps(swapped).encode(),
        "WrongSite": target.seal(msgspec.structs.replace(gone, site="press-02"), [signer]),
        "Stale": older,
        "Equivocation": target.seal(msgspec.structs.replace(gone, generation=held.generation), [signer]),
        "BadDigest": target.seal(msgspec.structs.replace(later, content=empty), [signer]),
        "MissingFeature": target.seal(requiring(gone, "mind-reading"), [signer]),
    }


def requiring(wanted: Target, feature: str) -> Target:
    content = msgspec.structs.replace(wanted.content, requires=(feature,))
    return msgspec.structs.replace(wanted, content=content, digest=digest.digest(content))


@pytest.mark.invariant("target-never-goes-back")
def test_no_forged_torn_or_replayed_target_moves_a_site_and_each_is_reported_with_its_reason(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        older = tap.retained(whole.broker.port, whole.target_topic)
        whole.apply("two")
        whole.converged("two")
        before = whole.identity()
        port, topic = whole.broker.port, whole.target_topic
        newest = tap.retained(port, topic)
        bad = forged(whole, older)
        last = bad.pop("BadEncoding")
        stranger = target.seal(a_target(file_body(), site=SITE, generation=99), [STRANGER])
        tap.publish(port, topic, stranger, *bad.values())
        until(lambda: whole.refusals() == set(bad), HANGS_S, "every refusal to be reported")
        tap.publish(port, topic, last, retain=True)
        until(lambda: whole.refusals() == {*bad, "BadEncoding"}, HANGS_S, "the last as well")
        described = whole.hub.call("describe", "site", SITE).out
        assert all(reason in described for reason in bad)
        assert whole.identity() == before
        assert whole.state() == "Converged"
        until(lambda: tap.retained(port, topic) == newest, HANGS_S, "the hub to put its own in its place")
        until(lambda: not whole.problems(), HANGS_S, "the site to hold what it is given")
        whole.apply("three")
        whole.converged("three")
        assert whole.identity()[0] == before[0], "what did not change was not touched"


@pytest.mark.invariant("hub-silence-changes-nothing")
def test_an_emptied_target_topic_removes_nothing_and_the_next_target_is_taken(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        tap.publish(whole.broker.port, whole.target_topic, b"", retain=True)
        whole.agent.kill()
        whole.agent.start()  # subscribes anew and is given nothing
        until(lambda: (whole.status().get("link") or {}).get("doing") == "settled", HANGS_S, "the hub's answer")
        assert whole.status()["status"]["state"] == "Converged"
        assert whole.identity() == before
        whole.apply("two")
        whole.converged("two")
        assert whole.identity()[0] == before[0]


def overwritten(database: Path) -> None:
    """Damage a database as a disk does: bytes at the start and in the middle of it, and of its log, are others now."""
    for path in (database, database.with_name(f"{database.name}-wal")):
        if path.exists() and (size := path.stat().st_size):
            with path.open("r+b") as file:
                for at in (0, size // 2):
                    file.seek(at)
                    file.write(os.urandom(2048))


def alone(whole: Slice) -> None:
    """Leave the site to itself: no hub, no broker, its agent killed."""
    whole.agent.kill()
    whole.hub.kill()
    whole.broker.kill()


def test_a_site_started_again_with_no_network_repairs_itself_and_its_holds_go_on_and_end(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        said = whole.said.stat().st_ino
        held = whole.agent.call("hold", "File/said", "--for", "4s", "--reason", "work on the scale", "-o", "json")
        ends = json.loads(held.out)["hold"]["until"] / 1000
        alone(whole)
        whole.kept.unlink()
        whole.said.write_text("by hand")
        whole.agent.start()
        until(whole.kept.exists, HANGS_S, "the file that is gone to be made again")
        assert whole.kept.read_text() == KEPT
        status = until(whole.status, HANGS_S, "the agent to answer")
        assert [hold["reason"] for hold in status["status"]["holds"]] == ["work on the scale"]
        while time.time() < ends - 0.5:
            assert whole.said.read_text() == "by hand", "a hold survives a restart"
            time.sleep(0.1)
        until(lambda: whole.said.read_text() == "one", HANGS_S, "the hold to end and the file to be put right")
        assert time.time() >= ends
        assert whole.said.stat().st_ino != said
        whole.broker.start()
        whole.hub.start()
        whole.hub.ready()
        whole.converged("one")


@pytest.mark.invariant("only-owned-things-are-removed")
def test_a_damaged_database_is_set_aside_and_the_site_goes_on_from_its_last_signed_target(tmp_path: Path) -> None:
    with slices.running(tmp_path) as whole:
        before = whole.identity()
        (whole.agent.root / "foreign").write_text("not ours")
        alone(whole)
        overwritten(whole.agent.folder / "state/edge.db")
        whole.agent.start()
        until(lambda: "set aside" in whole.problems(), HANGS_S, "the agent to say what happened")
        assert (whole.agent.folder / "state/edge.db.damaged-1").exists()
        assert whole.status()["status"]["generation"] == 1
        assert whole.status()["status"]["state"] == "Converged"
        assert whole.identity() == before
        whole.said.unlink()
        until(whole.said.exists, HANGS_S, "the site to repair itself with no network")
        whole.broker.start()
        whole.hub.start()
        whole.hub.ready()
        whole.converged("one")
        assert whole.hub.call("delete", "instance", "pair", "--yes").status == 0
        until(
            lambda: not whole.said.exists() and not whole.kept.exists(),
            HANGS_S,
            "what it made and no longer wants to go",
        )
        assert (whole.agent.root / "foreign").read_text() == "not ours"


@pytest.mark.invariant("every-loss-is-counted")
def test_a_damaged_outbox_begins_a_new_history_says_so_and_the_old_account_stays_exact(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        device = whole.device()
        device.send(100)
        whole.arrived(device)
        first = len(device.sent)
        whole.agent.kill()
        device.send(100)  # they wait at the site's broker
        overwritten(whole.agent.folder / "state/outbox.db")
        whole.agent.start()
        whole.arrived(device)
        old, new = whole.ledger("p3")
        assert (old["state"], old["stored"], old["pending"]) == ("superseded", first, 0)
        assert (new["state"], new["tombstoned"]) == ("open", 0)
        assert old["incarnation"] != new["incarnation"]
        assert "OutboxDamaged" in alarms(whole)
        assert whole.state() == "Converged"


def test_readings_that_only_a_damaged_outbox_had_are_lost_and_an_alarm_says_so(tmp_path: Path) -> None:
    with slices.running(tmp_path, devices=True) as whole:
        before, lost, after = (whole.device(name) for name in ("before", "lost", "after"))
        before.send(50)
        whole.arrived(before)
        whole.broker.kill()
        lost.send(50)
        until(lambda: whole.status()["outbox"]["p3"]["rows"] >= len(lost.sent), HANGS_S, "the readings in the outbox")
        whole.agent.kill()
        overwritten(whole.agent.folder / "state/outbox.db")
        whole.broker.start()
        whole.agent.start()
        after.send(50)
        until(lambda: "OutboxDamaged" in alarms(whole), HANGS_S, "the alarm")
        whole.arrived(before, after)
        aside = whole.agent.folder / "state" / whole.hub.site(SITE)["alarms"][0]["aside"]
        assert aside.exists(), "what can be saved by hand is still there"


def alarms(whole: Slice) -> set[str]:
    return {each["reason"] for each in whole.hub.site(SITE)["alarms"]}


class SmallDisk:
    """A file system of a few MiB for an agent's state, seen by that agent alone and gone with its namespace."""

    def __init__(self, whole: Slice, namespace: plain.PlainSite, mib: int) -> None:
        state = whole.agent.folder / "state"
        state.mkdir()
        namespace.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "small", str(state)])
        pid = namespace.enter[namespace.enter.index("-t") + 1]
        whole.agent.enter = ["nsenter", "-t", pid, "-U", "-m", "--preserve-credentials", "--"]
        self._filler = Path(f"/proc/{pid}/root{state}/filler")

    def fill(self) -> None:
        """Take every byte that is free."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        self._filler.unlink()


@pytest.mark.invariant("outbox-never-blocks-reconcile")
def test_a_full_disk_stops_no_repair_while_the_reserve_lasts_and_loses_no_reading_and_no_report(tmp_path: Path) -> None:
    with (
        slices.running(tmp_path, devices=True, online=False) as whole,
        plain.site("small", tmp_path / "small") as namespace,
    ):
        disk = SmallDisk(whole, namespace, 40)
        whole.agent.start()
        whole.apply("one")
        whole.converged("one")
        device = whole.device()
        device.send(50)
        whole.arrived(device)

        disk.fill()
        device.start()
        until(
            lambda: "DiskFull: readings wait" in whole.problems(), HANGS_S, "the agent to say that it takes no readings"
        )
        whole.kept.unlink()
        until(whole.kept.exists, HANGS_S, "a repair on the reserve")
        whole.apply("two")
        whole.converged("two")
        assert "DiskFull" in whole.hub.call("describe", "site", SITE).out

        disk.fill()  # the reserve as well
        whole.kept.unlink()
        until(
            lambda: "DiskFull: changes cannot be recorded" in whole.problems(),
            HANGS_S,
            "the agent to say that it cannot",
        )
        whole.apply("three")
        assert whole.said.read_text() == "two", "without a kept intent there is no effect"

        disk.free()
        until(whole.kept.exists, HANGS_S, "the repair, by itself")
        whole.converged("three")
        until(lambda: not whole.problems(), HANGS_S, "no problem any more")
        assert device.stop() == 0
        whole.arrived(device)
        assert len(device.sent) > 300, "the device hardly published"
        for generation in (1, 2, 3):
            told = {each["level"] for each in whole.hub.site(SITE)["reports"] if each["generation"] == generation}
            assert {"A1", "A2", "A3"} <= told, "no report was lost"


PRESENT = 0.0
DECADE = 10 * YEAR


@pytest.mark.invariant("nothing-is-removed-because-of-time")
@pytest.mark.parametrize(
    ("first", "then"),
    [(-SINCE_1970, DECADE), (DECADE, PRESENT)],
    ids=["from 1970 to ten years ahead", "from ten years ahead to now"],
)
def test_a_site_whose_clock_is_wrong_or_steps_converges_delivers_and_removes_nothing(
    tmp_path: Path, first: float, then: float
) -> None:
    with slices.running(tmp_path, devices=True, online=False) as whole:
        clock = WrongClock(whole.folder, first, whole.agent)
        whole.agent.start()
        whole.apply("one")
        whole.converged("one")
        before = whole.identity()
        device = whole.device()
        device.send(50)
        whole.arrived(device)
        clock.step(then)
        device.send(50)
        whole.arrived(device)
        assert whole.identity() == before
        whole.kept.unlink()
        until(whole.kept.exists, HANGS_S, "the file to be made again")
        whole.apply("two")
        whole.converged("two")
        whole.agent.kill()
        whole.agent.start()
        device.send(50)
        whole.arrived(device)
        assert whole.state() == "Converged"
        assert not whole.problems()
        assert not whole.refusals()
        years = {round((each["time"] / 1000 - time.time()) / YEAR) for each in whole.readings()}
        assert round(DECADE / YEAR) in years, "the clock was wrong indeed"
        assert years <= {round(off / YEAR) for off in (first, then)} | {0}, "or the least it could be was taken for it"
