"""What docs/device-data.md says, on a real hub, agent, broker and device."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import anyio
import pyarrow.parquet
import pytest

from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Connection, Options, Subscription
from support import mosquitto
from support.clock import Running
from support.fleet import Agent, Hub, ended
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).resolve().parents[2] / "docs/device-data.md"


def documented(fence: str) -> list[str]:
    return re.findall(rf"```{fence}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def site_broker() -> Iterator[mosquitto.Mosquitto]:
    with mosquitto.running("site.conf") as running:
        yield running


@pytest.fixture(scope="module")
def hub(site_broker: mosquitto.Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one site, whose agent reads the site's broker."""
    program = Hub(tmp_path_factory.mktemp("hub"), listen=f"127.0.0.1:{mosquitto.free_port()}")
    with ended(program):
        program.start()
        program.ready()
        agent = Agent(program, tmp_path_factory.mktemp("site") / "press-01", "press-01", devices=site_broker.port)
        with ended(agent):
            agent.start()
            yield program


class Oven:
    """A device: says its temperature, does what it is told, and takes its setpoint from what it shall be."""

    def __init__(self, port: int) -> None:
        self._options = Options(client_id="oven", port=port)
        self.done: list[object] = []

    async def run(self) -> None:
        connection = paho.dial(self._options)
        try:
            await connection.connect()
            await self._live(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _live(self, connection: Connection) -> None:
        await connection.subscribe([Subscription("commands/oven/+"), Subscription("desired/oven")])
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_temperature, connection)
            await self._run_orders(connection)

    async def _run_temperature(self, connection: Connection) -> None:
        while True:
            await connection.publish("devices/oven/t", b"20.5")
            await anyio.sleep(0.3)

    async def _run_orders(self, connection: Connection) -> None:
        while True:
            delivery = await connection.receive()
            said = json.loads(delivery.payload)
            if delivery.topic.startswith("commands/"):
                self.done.append(said["data"])
                await connection.publish(f"answers/oven/{said['id']}", b'{"opened": true}')
            else:
                await connection.publish("devices/oven/setpoint", json.dumps(said["properties"]["setpoint"]).encode())
            connection.acknowledge(delivery)


async def test_the_page_s_commands_do_what_it_says(
    hub: Hub, site_broker: mosquitto.Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    oven = Oven(site_broker.port)
    async with Running(oven.run):
        listed = ["get", "devices", "-o", "name"]
        await anyio.to_thread.run_sync(
            lambda: until(lambda: "device/press-01/oven" in hub.call(*listed).out, HANGS_S, "the device", every=0.2)
        )
        said = {}
        for line in "".join(documented("bash")).splitlines():
            _, *words = shlex.split(line)
            done = await anyio.to_thread.run_sync(lambda words=words: hub.call(*words))
            assert done.status == 0, (line, done.err)
            said[words[0], words[1]] = done
        assert "oven" in said["get", "devices"].out
        assert "answered" in said["device", "command"].out
        assert oven.done == [{"by": 5}]
        assert {row["metric"] for row in pyarrow.parquet.read_table("readings.parquet").to_pylist()} >= {"t"}

        def settled() -> bool:
            twin = hub.call("describe", "device", "press-01/oven", "-o", "json").json["twin"]
            return bool(twin["delivered"] and twin["properties"][0]["settled"])

        await anyio.to_thread.run_sync(lambda: until(settled, HANGS_S, "the setpoint", every=0.2))
        hourly = hub.call("readings", "--metric", "t", "--every", "1h", "-o", "json").json["items"]
        assert {(each["min"], each["mean"], each["last"]) for each in hourly} == {(20.5, 20.5, 20.5)}
        lines = hub.call("export", "--format", "csv", "--metric", "t").out.splitlines()
        assert lines[0].startswith("time,site,node,device,metric")
        assert len(lines) > 1
    forgotten = hub.call("device", "forget", "press-01/oven", "-o", "json")
    assert forgotten.json == {"deleted": "device/press-01/oven"}
    assert hub.call("describe", "device", "press-01/ghost").status == 3


async def test_the_page_s_documents_are_taken_and_shown(hub: Hub) -> None:
    for text in documented("yaml"):
        assert hub.call("apply", "-f", "-", given=text).status == 0
    assert "vibration" in hub.call("get", "retention").out
    assert {each["name"]: each["to"] for each in hub.call("get", "sinks", "-o", "json").json["items"]} == {
        "lake": "webhook",
        "plant-db": "postgresql",
        "metrics": "otlp",
        "stream": "nats",
        "log": "kafka",
    }
    assert "https://lake.example" in hub.call("describe", "sink", "lake").out
    again = hub.call("sink", "replay", "lake", "--from", "7d", "-o", "json")
    assert again.json["replaying"] > 0, again.err
    for name in ("lake", "plant-db", "metrics", "stream", "log"):
        assert hub.call("delete", "sink", name, "--yes").status == 0
    assert hub.call("ledger", "press-01").status == 0


async def test_parquet_without_its_library_or_a_file_says_what_to_do(hub: Hub) -> None:
    done = hub.call("export", "--format", "parquet")
    assert done.status == 2
    assert "--out" in done.err
