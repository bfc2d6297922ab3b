"""The hub's own metrics, at a collector that reads the protocol's messages."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_hub.operations import telemetry
from holdfast_hub.operations.telemetry import Telemetry
from holdfast_hub.service import run_hub
from holdfast_hub.settings import Address, Settings
from holdfast_protocol.errors import InputError, PermanentError
from support import collector as collectors
from support import mosquitto
from support.clock import Running
from support.collector import Collector, words
from support.device_data import Sender
from support.hubs import BLUEPRINT, add_site, hub_at, instance, put
from support.receiver import Reply
from support.sinks import document, drained, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collectors.running() as held:
        yield held


def shown(collector: Collector) -> dict[str, float]:
    """Return what came last, by name and, behind it, the sink."""
    found = {}
    for each in collector.points:
        sink = words(iter(each.point.attributes)).get("sink", "")
        value = each.point.as_int if each.point.HasField("as_int") else each.point.as_double
        found[f"{each.metric.removeprefix('holdfast.hub.')} {sink}".strip()] = value
    return found


async def test_what_the_hub_does_is_measured(tmp_path: Path, collector: Collector) -> None:
    lake, dead = (
        document("lake", f"otlp: {{endpoint: '{collector.endpoint}'}}"),
        document("dead", "nats: {servers: ['nats://127.0.0.1:1'], timeoutSeconds: 1}"),
    )
    async with working(tmp_path, lake, dead) as hub:
        Sender(hub).send(*readings(0, 5))
        await put(hub, BLUEPRINT, instance())
        with anyio.fail_after(HANGS_S):
            await drained(hub)
        collector.points.clear()
        sent = Telemetry(hub, collector.endpoint)
        await sent.export()
        found = shown(collector)
    assert collector.points[0].resource["service.name"] == "holdfast-hub"
    assert found.pop("sink.failures dead") >= 0
    assert found.pop("publish.lag") >= 0
    assert found == {
        "sites": 2,
        "nodes": 0,
        "sessions": 0,
        "targets.waiting": 1,
        "streams": 1,
        "readings.stored": 5,
        "readings.tombstoned": 0,
        "sink.lag lake": 0,
        "sink.lag dead": 5,
        "sink.failures lake": 0,
        "sink.sent lake": 5,
        "sink.sent dead": 0,
        "sink.refused lake": 0,
        "sink.refused dead": 0,
        "sink.missed lake": 0,
        "sink.missed dead": 0,
        "sink.skipped lake": 0,
        "sink.skipped dead": 0,
    }


def test_the_page_names_every_metric() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
    assert set(re.findall(r"`(holdfast\.hub\.[a-z.]+)`", page)) == {*telemetry.LEVELS, *telemetry.COUNTS}


async def test_a_collector_that_refuses_costs_nothing_and_is_told_again(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer = lambda _: Reply(404)
    with hub_at(tmp_path) as hub:
        await hub.load()
        await add_site(hub)
        held = Telemetry(hub, collector.endpoint)
        await held.export()
        assert (len(collector.server.asked), collector.points) == (1, [])
        assert "404" in caplog.text
        collector.answer = lambda _: Reply()
        async with Running(held.run):
            with anyio.fail_after(HANGS_S):
                while not collector.points:
                    await anyio.sleep(0.01)
        assert shown(collector)["sites"] == 1


async def test_a_hub_that_is_told_where_sends_them(tmp_path: Path, collector: Collector) -> None:
    with mosquitto.running("hub.conf") as broker:
        address = Address(broker.host, broker.port)
        settings = Settings(tmp_path / "data", "acme", tmp_path / "hub.sock", address, telemetry=collector.endpoint)

        async def run() -> None:
            await run_hub(settings, ready=lambda _: None)

        async with Running(run):
            with anyio.fail_after(HANGS_S):
                while not collector.points:
                    await anyio.sleep(0.01)
    assert collector.points[0].resource["service.namespace"] == "acme"
    assert shown(collector)["sites"] == 0


async def test_without_its_library_a_hub_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with hub_at(tmp_path) as hub, pytest.raises(PermanentError) as raised:
        telemetry.Telemetry(hub, "http://127.0.0.1:1")
    assert raised.value.hint.startswith("pip install 'holdfast-hub[telemetry]'")


@pytest.mark.parametrize("url", ["collector:4318", "http://", "http://u:p@a", "ftp://a", "http://a?x", "http://a b"])
def test_an_address_that_cannot_be_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="without credentials"):
        Settings(tmp_path, telemetry=url).check()
