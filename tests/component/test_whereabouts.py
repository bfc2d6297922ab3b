"""The way to a device: where it was seen, kept over restarts; and what giving does when a broker refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.ingest.giving import Giver, Way
from holdfast_edge.ingest.noticing import Noticing
from holdfast_edge.store import whereabouts
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.whereabouts import BUILT_IN, Place
from holdfast_protocol.errors import PublishRefused, TransientError
from holdfast_protocol.wire.commands import Command
from holdfast_protocol.wire.readings import Reading
from support.builders import FLEET, SITE
from support.clock import FakeClock, Running, eventually
from support.hubs import NODE

pytestmark = pytest.mark.anyio


async def test_one_that_carries_commands_is_not_given_up_for_one_that_does_not(tmp_path: Path) -> None:
    orders = Orders(tmp_path, 0)
    where = orders.whereabouts
    await where.note({"press"}, "DeviceSource/deaf", able=False)
    assert where.place_of("press") == Place("DeviceSource/deaf", False)
    await where.note({"press"}, "DeviceSource/able", able=True)
    await where.note({"press"}, "DeviceSource/deaf", able=False)
    assert where.place_of("press") == Place("DeviceSource/able", True)
    await where.note({"press"}, "DeviceSource/other", able=True)
    await where.note({"mill"}, BUILT_IN, able=True)
    orders.close()
    orders = Orders(tmp_path, 0)
    assert orders.whereabouts.place_of("press") == Place("DeviceSource/other", True)
    await orders.whereabouts.note({"press"}, "DeviceSource/other", able=False)  # it was applied again, without commands
    assert orders.whereabouts.place_of("press") == Place("DeviceSource/other", False)
    await orders.whereabouts.keep({BUILT_IN})
    assert [orders.whereabouts.place_of(each) for each in ("press", "mill")] == [None, Place(BUILT_IN, True)]
    orders.close()
    orders = Orders(tmp_path, 0)
    assert orders.whereabouts.place_of("press") is None
    orders.close()


async def test_there_is_room_for_so_many_and_the_first_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "MAX_DEVICES", 3)
    orders = Orders(tmp_path, 0)
    for number in range(5):
        await orders.whereabouts.note({f"d{number}"}, BUILT_IN, able=True)
    assert [orders.whereabouts.place_of(f"d{number}") is None for number in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    orders.close()


class Outbox:
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    async def append_readings(self, readings: Any, **_: Any) -> None:
        self.readings += readings

    async def append_records(self, stream: str, records: Any) -> None:
        raise AssertionError((stream, records))

    def cursor(self, name: str) -> bytes:
        return name.encode()


@pytest.mark.invariant("outbox-never-blocks-reconcile")
async def test_readings_are_stored_once_also_where_no_room_is_for_their_whereabouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, outbox = Orders(tmp_path, 0), Outbox()
    it = Noticing(outbox, orders.whereabouts, "DeviceSource/a", able=True)

    async def full(*_: Any, **__: Any) -> None:
        raise TransientError("no space left", reason="DiskFull")

    with monkeypatch.context() as patched:
        patched.setattr(orders.whereabouts, "note", full)
        await it.append_readings([Reading("press", "t", 1, 1)])
    assert orders.whereabouts.place_of("press") is None
    await it.append_readings([Reading("press", "t", 2, 2)])
    assert orders.whereabouts.place_of("press") == Place("DeviceSource/a", True)
    assert len(outbox.readings) == 2
    assert it.cursor("x") == b"x"
    orders.close()


class Carrier:
    """A broker that refuses what `refuses` says."""

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        self.published: list[tuple[str, Any, int]] = []
        self._refuses = refuses

    async def publish(self, topic: str, payload: bytes, deadline: int) -> None:
        if self._refuses(topic):
            raise PublishRefused(topic, 135)
        self.published.append((topic, json.loads(payload), deadline))

    async def answer(self) -> tuple[str, bytes]:
        await anyio.sleep_forever()
        raise AssertionError


async def test_what_the_broker_refuses_ends_and_what_is_another_s_is_left(tmp_path: Path) -> None:
    orders, clock = Orders(tmp_path, 0), FakeClock()
    now = int(clock.wall() * 1000)
    for name, device in (("a", "forbidden"), ("b", "hall/press 1"), ("c", "another's")):
        command = Command(FLEET, SITE, NODE, name, "command", device, "open", deadline=now + 9_000, at=now)
        await orders.take(command, now)
        wanted = Command(FLEET, SITE, NODE, f"w{name}", "desire", device, data={"x": 1}, version=1, at=now)
        await orders.take(wanted, now)
    carrier = Carrier(lambda topic: "forbidden" in topic)
    giver = Giver(orders, clock, Way(), lambda device: device != "another's")
    async with Running(lambda: giver.run(carrier)):
        await eventually(lambda: len(carrier.published) == 2)
        assert [topic for topic, *_ in carrier.published] == [
            "desired/hall%2Fpress%201",
            "commands/hall%2Fpress%201/open",
        ]
        assert [deadline for *_, deadline in carrier.published] == [0, now + 9_000]
        [ended] = await orders.unreplied()
        assert (ended.id, ended.outcome, ended.reason) == ("a", "failed", "Refused")
        assert [(each.id, each.state) for each in await orders.open()] == [("b", "given"), ("c", "taken")]
    orders.close()
