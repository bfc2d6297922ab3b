"""Devices, their site's own Mosquitto, and the outbox: what survives when either end is killed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast_edge.ingest import mqtt
from holdfast_edge.ingest.devices import run_devices
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Dial, Options
from support import mosquitto
from support.clock import Running, eventually
from support.devices import Site, stored_readings
from support.streams import open_outbox

pytestmark = pytest.mark.anyio


class Hasty(SystemClock):
    """Reconnects at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


@asynccontextmanager
async def ingest(
    broker: mosquitto.Mosquitto, outbox: Outbox, dial: Dial = paho.dial
) -> AsyncIterator[Callable[[], int]]:
    """Run ingest as an agent does, and yield how to count its successful connections."""
    states: list[LinkState] = []

    def settled() -> int:
        return [state.doing for state in states].count("settled")

    async def loop() -> None:
        await run_devices(dial, Site(port=broker.port), outbox, Hasty(), on_state=states.append)

    async with Running(loop):
        await eventually(settled)
        yield settled


@asynccontextmanager
async def device(broker: mosquitto.Mosquitto) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Yield how to publish one number, until it is acknowledged, whatever happens to the broker."""
    connections: list[Connection] = []

    async def publish(number: int) -> None:
        while True:
            try:
                if not connections:
                    connections.append(paho.dial(Options(client_id="press-1", port=broker.port)))
                    await connections[0].connect()
                await connections[0].publish("devices/press-1/count", b"%d" % number)
            except LinkLost:
                await connections.pop().close()
                await anyio.sleep(0.005)
            else:
                return

    try:
        yield publish
    finally:
        for connection in connections:
            await connection.close()


async def published(broker: mosquitto.Mosquitto, count: int) -> None:
    """Publish so many numbers, in order, as fast as the broker takes them."""
    sender = paho.dial(Options(client_id="press-1", port=broker.port))
    await sender.connect()
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(sender.publish, "devices/press-1/count", b"%d" % number)
    await sender.close()


def deaf_to_acknowledgements(lose: list[bool]) -> Dial:
    """Connections that break instead of acknowledging, as often as `lose` says."""

    def dial(options: Options) -> Connection:
        connection = paho.dial(options)
        acknowledge = connection.acknowledge

        def refuse(*deliveries: Delivery) -> None:
            if lose:
                lose.pop()
                connection._fail("killed between commit and acknowledgement", "Lost")  # type: ignore[attr-defined]
            acknowledge(*deliveries)

        connection.acknowledge = refuse  # type: ignore[method-assign]
        return connection

    return dial


async def values(outbox: Outbox) -> list[object]:
    return [reading.value for reading in await stored_readings(outbox)]


@pytest.mark.invariant("commit-before-ack")
async def test_a_redelivered_device_message_is_stored_once(tmp_path: Path) -> None:
    outbox, lose = open_outbox(tmp_path), [True] * 3
    with mosquitto.running("site.conf") as broker:
        async with ingest(broker, outbox, deaf_to_acknowledgements(lose)), device(broker) as publish:
            for number in range(20):
                await publish(number)
            await eventually(lambda: outbox.depth()["p3"].rows >= 20 and not lose)
            await publish(20)
            await eventually(lambda: outbox.depth()["p3"].rows >= 21)
        assert await values(outbox) == list(range(21))
    outbox.close()


@pytest.mark.invariant("commit-before-ack")
async def test_the_memory_of_what_was_taken_outlives_the_agent(tmp_path: Path) -> None:
    outbox, lose = open_outbox(tmp_path), [True] * 1000
    with mosquitto.running("site.conf") as broker:
        async with ingest(broker, outbox, deaf_to_acknowledgements(lose)), device(broker) as publish:
            await publish(1)
            await eventually(lambda: outbox.depth()["p3"].rows >= 1)
        outbox.close()
        outbox = open_outbox(tmp_path)
        async with ingest(broker, outbox), device(broker) as publish:
            await publish(1)
            await eventually(lambda: outbox.depth()["p3"].rows >= 2)
        assert await values(outbox) == [1, 1]
    outbox.close()


async def test_a_backlog_larger_than_can_be_remembered_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "MOST", 2_000)
    monkeypatch.setattr(mqtt, "UNCONFIRMED", 10**9)
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf", extra="autosave_on_changes false") as broker:
        async with ingest(broker, outbox):
            pass
        await published(broker, 6_000)
        async with ingest(broker, outbox) as settled:
            await eventually(lambda: outbox.depth()["p3"].rows >= 6_000)
            assert settled() > 1
        assert await values(outbox) == list(range(6_000))
    outbox.close()


async def test_what_devices_publish_while_the_agent_is_away_survives_a_kill_of_the_broker(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with mosquitto.running("site.conf") as broker:
        async with ingest(broker, outbox):
            pass
        async with device(broker) as publish:
            for number in range(50):
                await publish(number)
            # The acknowledgement leaves just before the state is written; the next message comes after that.
            await publish(50)
            broker.kill()
            broker.start()
        async with ingest(broker, outbox):
            await eventually(lambda: outbox.depth()["p3"].rows >= 50)
        assert (await values(outbox))[:50] == list(range(50))
    outbox.close()


async def test_what_reached_the_agent_is_kept_though_the_broker_dies_and_forgets_it(tmp_path: Path) -> None:
    outbox, wipes = open_outbox(tmp_path), [0]
    with mosquitto.running("site.conf") as broker:
        async with ingest(broker, outbox) as settled, device(broker) as publish:
            for number in range(30):
                await publish(number)
                if number % 10 == 9:
                    broker.wipe()
                    wipes.append(number)
                    await eventually(lambda: settled() >= len(wipes))
            await eventually(lambda: outbox.depth()["p3"].rows >= 30)
        assert await values(outbox) == list(range(30))
    outbox.close()
