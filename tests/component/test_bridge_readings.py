"""Readings handed to bridges on their way into the outbox: before it, never in its way."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from holdfast_edge.ingest import tee as tees
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.providers.bridges.provider import BridgeProvider
from holdfast_edge.store.bridges import Bridges
from holdfast_protocol.bridging.standing import BridgeState, Rate, Stand
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.relay.queue import Bounds, Queue, open_queue
from holdfast_protocol.relay.readings import Feed
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.readings import Reading
from support.bridges import bridge as wanted_bridge
from support.clock import FakeClock, eventually
from support.sources import scope, secret
from support.streams import open_outbox

pytestmark = pytest.mark.anyio
KEY = ResourceKey("Bridge/cloud")
RULES = [{"source": "readings", "topic": "press/{metric#}", "to": "acme/{metric}", "maxPayload": 200}]


def queue(folder: Path) -> Queue:
    return open_queue(folder / "q.db", Bounds(10**6, 1000), FakeClock())


def feed(held: Queue, stands: list[Stand], **spec: Any) -> Feed:
    want = bridge.wanted({"remote": {"host": "x"}, "out": RULES, **spec}, "cloud")
    return Feed(want.out, held, lambda _, stand: stands.append(stand))


def readings(count: int, text: str = "on") -> list[Reading]:
    return [Reading("press", f"m{number}", 1000 + number, text) for number in range(count)]


async def test_readings_wait_for_the_queue_of_a_bridge_that_begins_and_are_in_it_before_the_outbox(
    tmp_path: Path,
) -> None:
    outbox, held, stands = open_outbox(tmp_path / "outbox"), queue(tmp_path), list[Stand]()
    tee = Tee(outbox, lambda: [KEY])
    async with anyio.create_task_group() as group:
        group.start_soon(tee.append_readings, readings(3))
        await anyio.wait_all_tasks_blocked()
        assert outbox.depth()["p3"].rows == 0
        tee.open(KEY, feed(held, stands))
    assert stands[-1].received == 3
    assert outbox.depth()["p3"].rows == 3
    await tee.append_readings([Reading("other", "m", 1, 1)], stream="p1")
    assert stands[-1].received == 3, "no rule wants it"
    assert outbox.depth()["p1"].rows == 1
    tee.close(KEY)
    held.close()
    outbox.close()


@pytest.mark.invariant("outbox-never-blocks-reconcile")
async def test_a_bridge_that_never_begins_holds_readings_up_once_and_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tees, "PATIENCE", 0.01)
    outbox = open_outbox(tmp_path)
    tee = Tee(outbox, lambda: [KEY])
    await tee.append_readings(readings(3))
    monkeypatch.setattr(tees, "PATIENCE", 1000.0)
    await tee.append_readings(readings(3))
    await eventually(lambda: outbox.depth()["p3"].rows == 6)
    outbox.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_readings_a_full_disk_does_not_take_are_counted_with_the_next_it_takes(tmp_path: Path) -> None:
    held, stands = queue(tmp_path), list[Stand]()
    with held.database.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1}")
    way = feed(held, stands)
    await way.put(readings(500))
    assert not stands
    with pytest.raises(TransientError):
        await way.put_about([(each, {}) for each in readings(500)])
    with held.database.reading() as connection:
        connection.execute("PRAGMA max_page_count=100000")
    await way.put(readings(2))
    assert (stands[-1].received, stands[-1].waiting, stands[-1].dropped) == (502, 2, {"DiskFull": 500})
    await way.put([*readings(1, "x" * 300), *readings(1)])
    assert stands[-1].dropped == {"DiskFull": 500, "TooLarge": 1}
    way.is_closed = True
    held.close()
    await way.put(readings(1))


async def test_new_figures_are_news_once_a_minute_and_another_condition_at_once(tmp_path: Path) -> None:
    bridges, state = Bridges(tmp_path), BridgeState("cloud")
    bridges.states[KEY] = state
    first = bridges.said(100.0)
    state.stands["out"] = Stand(received=5, sent=4, waiting=1, bytes=9, oldest=1_000, dropped={})
    state.ran = 8_000
    assert bridges.said(130.0) is first
    second = bridges.said(161.0)
    assert (second[0].ways["out"].sent, second[0].ways["out"].lag) == (4, 7)
    state.sides["remote"].reason, state.sides["remote"].problem = "Refused", "no"
    assert bridges.said(162.0)[0].reason == "Refused"
    assert bridges.said(163.0)[0].problem == "remote: no"


def test_a_rate_is_of_the_last_ten_seconds_and_goes_back_to_nothing() -> None:
    rate = Rate()
    assert rate.per_s(5.0) == 0.0
    for second in range(21):
        rate.count(30, float(second))
    assert rate.per_s(20.5) == 30.0
    assert rate.per_s(100.0) == 0.0


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"remote": {"host": "x"}, "out": [{"topic": "a/#"}]}, "NoBroker"),
        (
            {"remote": {"host": "x", "username": "u", "password": {"secret": "s", "key": "k"}}, "out": RULES},
            "MissingReference",
        ),
        ({"remote": {"host": "x"}, "out": RULES, "run": "hub"}, "InvalidSpec"),
        ({"remote": {"host": "x"}, "out": RULES, "broker": "aws-iot-core"}, "BrokerLimits"),
    ],
)
def test_a_site_says_why_it_cannot_run_a_bridge(tmp_path: Path, spec: dict[str, Any], reason: str) -> None:
    provider = BridgeProvider(Bridges(tmp_path), Place("site-1", "node-1"))
    resource = wanted_bridge(**spec)
    with pytest.raises(PermanentError) as refused:
        provider.check(resource, scope(resource))
    assert refused.value.reason == reason
    assert refused.value.message.startswith("spec.")


async def test_what_is_kept_of_a_bridge_is_for_the_agent_alone(tmp_path: Path) -> None:
    login = {"username": "u", "password": {"secret": "s", "key": "k"}}
    resource = wanted_bridge(remote={"host": "x", **login}, out=RULES)
    bridges = Bridges(tmp_path / "bridges")
    await BridgeProvider(bridges, Place("site-1", "node-1")).apply(resource, scope(resource, secret("s", k="hush")))
    (file,) = (tmp_path / "bridges" / "wanted").iterdir()
    assert (file.stat().st_mode & 0o777, b"hush" in file.read_bytes()) == (0o600, True)
    assert bridges.wanting_readings() == {KEY}


def sparkplug(held: Queue) -> Feed:
    want = bridge.wanted({"remote": {"host": "x"}, "preset": "sparkplug"}, "cloud", Place("s", "n"))
    return Feed(want.out, held, lambda *_: None, packed=True)


@pytest.mark.invariant("every-loss-is-counted")
async def test_readings_that_wait_when_an_edge_node_becomes_a_bridge_with_rules_are_said_by_its_rules(
    tmp_path: Path,
) -> None:
    held, stands = queue(tmp_path), list[Stand]()
    before = sparkplug(held)
    before.adopt()
    await before.put([*readings(2), Reading("other", "m", 1, 1)])
    for _ in range(2):  # the second finds nothing to do
        feed(held, stands).adopt()
    page = held.page("out", 0, 10)
    assert [each.entry.topic for each in page] == ["acme/m0", "acme/m1"]
    assert msgspec.json.decode(page[0].entry.payload)["value"] == "on"
    stand = held.settle("out", [each.number for each in page])
    assert (stand.received, stand.sent, stand.waiting, stand.bytes, stand.dropped) == (3, 2, 0, 0, {"NoRule": 1})
    held.close()


@pytest.mark.invariant("every-loss-is-counted")
async def test_what_waits_said_by_rules_when_a_bridge_becomes_an_edge_node_is_counted_as_dropped(
    tmp_path: Path,
) -> None:
    held, stands = queue(tmp_path), list[Stand]()
    before = feed(held, stands)
    before.adopt()
    await before.put(readings(2))
    after = sparkplug(held)
    after.adopt()
    await after.put(readings(1))
    stand = held.settle("out", [])
    assert (stand.received, stand.waiting, stand.dropped) == (3, 1, {"OtherForm": 2})
    held.close()


async def test_a_change_of_form_that_a_cut_ended_halfway_is_done_the_next_time(tmp_path: Path) -> None:
    held, stands = queue(tmp_path), list[Stand]()
    before = sparkplug(held)
    before.adopt()
    await before.put(readings(1))
    half = feed(held, stands)
    half._queue.rewrite("out", half._adopted)  # and no note of it
    await before.put(readings(1))
    feed(held, stands).adopt()
    assert [each.entry.topic for each in held.page("out", 0, 10)] == ["acme/m0", "acme/m0"]
    assert not any(each.entry.payload.startswith(b"\x86") for each in held.page("out", 0, 10))
    held.close()
