"""Readings on their way to an OpenTelemetry collector, read there by the protocol's own messages."""

import math
import ssl
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import anyio
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from holdfast_hub.operations import sinks
from holdfast_protocol.wire.readings import Reading
from support import collector as collectors
from support.builders import SITE
from support.certificates import Authority
from support.clock import eventually
from support.collector import Collector, Exported, words
from support.device_data import Sender
from support.hubs import add_site
from support.receiver import Reply
from support.sinks import START, document, drained, killed_after_delivery, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collectors.running() as held:
        yield held


def spec(collector: Collector) -> str:
    return f"otlp: {{endpoint: '{collector.endpoint}'}}"


async def test_numbers_are_points_of_gauges_and_texts_are_log_records(tmp_path: Path, collector: Collector) -> None:
    given = [
        Reading("oven", "t", START, 21.5, unit="Cel"),
        Reading("oven", "t", START + 1000, 22.5, unit="Cel", quality="bad"),
        Reading("oven", "count", START, 2**60),
        Reading("press", "on", START, True),
        Reading("press", "early", -5, 1),
        Reading("press", "none", START, math.nan),
        Reading("press", "state", START, "jammed", unit="x"),
    ]
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        Sender(hub).send(*given)
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.to, view.sent, view.refused) == ("otlp", 7, 0)
    oven = {
        "service.name": "holdfast",
        "service.instance.id": f"{SITE}/node-1/oven",
        "holdfast.site": SITE,
        "holdfast.node": "node-1",
        "holdfast.device": "oven",
    }
    found = {(each.metric, each.point.time_unix_nano): each for each in collector.points}
    first, second = found["t", START * 1_000_000], found["t", (START + 1000) * 1_000_000]
    assert first.resource.items() >= oven.items()
    assert (first.unit, first.point.as_double, words(iter(first.point.attributes))) == (
        "Cel",
        21.5,
        {"quality": "good"},
    )
    assert (second.point.as_double, words(iter(second.point.attributes))) == (22.5, {"quality": "bad"})
    assert found["count", START * 1_000_000].point.as_int == 2**60
    assert found["on", START * 1_000_000].point.as_int == 1
    assert found["early", 0].point.as_int == 1
    assert math.isnan(found["none", START * 1_000_000].point.as_double)
    assert len(collector.points) == 6
    (record,) = collector.records
    assert (record.record.body.string_value, record.record.time_unix_nano) == ("jammed", START * 1_000_000)
    said = words(iter(record.record.attributes))
    assert said.pop("log.record.uid").startswith(f"{SITE}/node-1/p3/")
    assert said == {"metric": "state", "unit": "x", "quality": "good"}


async def test_the_labels_of_a_site_go_with_its_readings(tmp_path: Path, collector: Collector) -> None:
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        await add_site(hub, "north-1", "north", line="a", owner="ann")
        sender = Sender(hub, "north-1")

        def labelled() -> bool:
            found = collector.points[-1].resource if collector.points else {}
            return (found.get("holdfast.label.line"), found.get("holdfast.label.owner")) == ("a", "ann")

        with anyio.fail_after(HANGS_S):
            while not labelled():
                sender.send(*readings(0, 1))
                await anyio.sleep(0.01)


async def test_tls_with_an_authority_and_headers_from_files(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.pair("127.0.0.1")
    for name, text in (("ca.pem", authority.cert), ("server.pem", pair.cert), ("server.key", pair.key)):
        (tmp_path / name).write_text(text)
    (tmp_path / "headers").write_text("Authorization: Bearer sesame\n\nx-tenant: plant\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with collectors.running(context) as collector:
        files = f"headersFile: {tmp_path}/headers, tls: {{caFile: {tmp_path}/ca.pem}}"
        trusting = document("lake", f"otlp: {{endpoint: '{collector.endpoint}/', {files}}}")
        async with working(tmp_path, trusting, document("doubtful", spec(collector))) as hub:
            Sender(hub).send(*readings(0, 3))
            with anyio.fail_after(HANGS_S):
                assert (await drained(hub)).sent == 3
            await eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in hub.sinks["doubtful"].message)
        (asked,) = collector.server.asked
        assert (asked.headers["authorization"], asked.headers["x-tenant"]) == ("Bearer sesame", "plant")
        assert len(collector.points) == 3


@pytest.mark.invariant("every-loss-is-counted")
async def test_a_partial_success_is_counted_and_shown(tmp_path: Path, collector: Collector) -> None:
    def answer(request: Exported) -> Reply:
        if isinstance(request, ExportLogsServiceRequest):
            logs = ExportLogsServiceResponse()
            logs.partial_success.rejected_log_records = 1
            logs.partial_success.error_message = "no such tenant"
            return Reply(body=logs.SerializeToString())
        response = ExportMetricsServiceResponse()
        response.partial_success.rejected_data_points = 2
        response.partial_success.error_message = "too old"
        return Reply(body=response.SerializeToString())

    collector.answer = answer
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        Sender(hub).send(*readings(0, 5), Reading("press", "state", START, "on"))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.sent, view.refused, view.refusal, view.message) == (3, 3, "no such tenant", "")
    assert len(collector.server.asked) == 2


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_what_is_asked_to_wait_waits(tmp_path: Path, collector: Collector, form: str) -> None:
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        times: list[float] = []

        def answer(_: Exported) -> Reply:
            times.append(hub.clock.boottime())
            after = "120" if form == "seconds" else formatdate(hub.clock.wall() + 120, usegmt=True)
            return Reply(503, headers=(("retry-after", after),)) if len(times) == 1 else Reply()

        collector.answer = answer
        Sender(hub).send(*readings(0, 3))
        with anyio.fail_after(HANGS_S):
            assert (await drained(hub)).sent == 3
        assert len(times) == 2
        assert times[1] - times[0] > 115


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_a_reading_that_is_unfit_is_found_counted_and_passed(tmp_path: Path, collector: Collector) -> None:
    def answer(request: Exported) -> Reply:
        return Reply(400, b"bad metric") if b"poison" in request.SerializeToString() else Reply()

    collector.answer = answer
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        Sender(hub).send(*readings(0, 5), Reading("press", "poison", START, 1), *readings(5, 3))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.sent, view.refused, view.refusal) == (8, 1, "answered 400: bad metric")
    assert sorted(each.point.as_int for each in collector.points) == list(range(8))


async def test_a_collector_that_refuses_even_nothing_is_no_matter_of_the_readings(
    tmp_path: Path, collector: Collector
) -> None:
    collector.answer = lambda _: Reply(400, b"HTTPS, please")
    async with working(tmp_path, document("lake", spec(collector))) as hub:
        Sender(hub).send(*readings(0, 5))
        await eventually(lambda: hub.sinks["lake"].failures > 1)
        shown = await sinks.show_sink(hub, "lake")
        assert (shown.refused, shown.lag, shown.message) == (0, 5, "Refused: answered 400: HTTPS, please")
        collector.answer = lambda _: Reply()
        with anyio.fail_after(HANGS_S):
            assert (await drained(hub)).sent == 5


@pytest.mark.invariant("commit-before-ack")
async def test_what_was_delivered_before_a_kill_is_delivered_again(tmp_path: Path, collector: Collector) -> None:
    await killed_after_delivery(tmp_path, document("lake", spec(collector)), *readings(0, 5))
    async with working(tmp_path) as hub:
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert view.sent == 5
    assert [each.point.as_int for each in collector.points] == [*range(5), *range(5)]


async def test_destinations_that_never_answer_hold_up_no_other_sink(tmp_path: Path, collector: Collector) -> None:
    """More of them than the process has threads for what blocks."""
    released = threading.Event()

    def hang(_: Exported) -> Reply:
        released.wait(HANGS_S)
        return Reply()

    with collectors.running() as hanging:
        hanging.answer = hang
        texts = [document(f"hung-{n}", spec(hanging)) for n in range(45)]
        async with working(tmp_path, *texts, document("lake", spec(collector))) as hub:
            sender = Sender(hub)
            try:
                sender.send(*readings(0, 3))
                await eventually(lambda: len(hanging.server.asked) == 45)
                sender.send(*readings(3, 3))
                with anyio.fail_after(HANGS_S):
                    assert (await drained(hub)).sent == 6
                assert (await sinks.show_sink(hub, "hung-7")).lag == 6
            finally:
                released.set()


@pytest.mark.parametrize(
    "library", ["opentelemetry.proto.collector.logs.v1.logs_service_pb2", "nats.aio.client", "confluent_kafka"]
)
async def test_a_missing_library_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    extra, text = {
        "o": ("otlp", "otlp: {endpoint: 'http://127.0.0.1:1'}"),
        "n": ("nats", "nats: {servers: ['nats://127.0.0.1:1']}"),
        "c": ("kafka", "kafka: {brokers: ['127.0.0.1:1']}"),
    }[library[0]]
    monkeypatch.setitem(sys.modules, library, None)
    async with working(tmp_path, document("lake", text)) as hub:
        await eventually(lambda: hub.sinks["lake"].failures)
        assert hub.sinks["lake"].reason == "NoDriver"
        assert f"pip install 'holdfast-hub[{extra}]'" in hub.sinks["lake"].message
