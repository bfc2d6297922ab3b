"""Readings on their way into Kafka: librdkafka's own mock cluster, which speaks the protocol over TCP."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from holdfast_hub.blueprint.destinations import Kafka
from holdfast_hub.operations import sinks
from holdfast_hub.sinks.kafka import KafkaOutlet
from holdfast_hub.sinks.outlet import Refusal
from holdfast_hub.store.series import Row, SeriesRow
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.wire.readings import Reading
from support.builders import SITE
from support.certificates import Authority
from support.clock import eventually
from support.device_data import Sender
from support.sinks import START, document, drained, killed_after_delivery, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Yield the address of a broker; it is there as long as the producer it is inside of."""
    inside = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    try:
        (broker,) = inside.list_topics(timeout=10).brokers.values()
        yield f"{broker.host}:{broker.port}"
    finally:
        inside.close()


def stored(cluster: str, topic: str) -> list[Any]:
    """Return the messages of a topic, partition by partition."""
    consumer = Consumer({"bootstrap.servers": cluster, "group.id": "test", "log_level": 0, "fetch.wait.max.ms": 10})
    try:
        found = []
        for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            partition = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(partition, timeout=10)
            consumer.assign([partition])
            limit = time.monotonic() + 10
            got = 0
            while got < end:
                assert time.monotonic() < limit
                for message in consumer.consume(end - got, timeout=1):
                    assert message.error() is None
                    found.append(message)
                    got += 1
        return found
    finally:
        consumer.close()


async def test_every_reading_is_a_message_and_those_of_a_device_keep_their_order(tmp_path: Path, cluster: str) -> None:
    async with working(tmp_path, document("lake", f"kafka: {{brokers: ['{cluster}'], topic: all}}", batch=100)) as hub:
        sender = Sender(hub)
        sender.send(Reading("a b/é", "t", START, float("inf")), Reading("oven", "state", START, "on", unit="x"))
        sender.send(*readings(0, 300))
        sender.send(*readings(300, 100))
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert (view.to, view.sent, view.refused) == ("kafka", 402, 0)
    found = await anyio.to_thread.run_sync(stored, cluster, "all")
    records = [json.loads(each.value()) for each in found]
    assert sorted(each["sequence"] for each in records) == list(range(1, 403))
    assert [each["value"] for each in records if each["device"] == "press"] == list(range(400))
    for message, record in zip(found, records, strict=True):
        identity = "/".join(str(record[key]) for key in ("site", "node", "stream", "incarnation", "sequence"))
        assert message.key().decode() == f"{SITE}/{record['device']}"
        assert dict(message.headers()) == {"id": identity.encode(), "content-type": b"application/json"}
    by_sequence = {each["sequence"]: each for each in records}
    assert by_sequence[1] == {
        "site": SITE,
        "node": "node-1",
        "stream": "p3",
        "incarnation": by_sequence[1]["incarnation"],
        "sequence": 1,
        "device": "a b/é",
        "metric": "t",
        "time": START,
        "kind": "float",
        "value": None,
        "unit": "",
        "quality": "good",
    }
    assert (by_sequence[2]["value"], by_sequence[2]["kind"], by_sequence[2]["unit"]) == ("on", "text", "x")


@pytest.mark.invariant("commit-before-ack")
async def test_what_was_delivered_before_a_kill_is_delivered_again(tmp_path: Path, cluster: str) -> None:
    text = document("lake", f"kafka: {{brokers: ['{cluster}'], topic: again}}")
    await killed_after_delivery(tmp_path, text, *readings(0, 5))
    async with working(tmp_path) as hub:
        with anyio.fail_after(HANGS_S):
            view = await drained(hub)
        assert view.sent == 5
    found = await anyio.to_thread.run_sync(stored, cluster, "again")
    assert [json.loads(each.value())["value"] for each in found] == [*range(5), *range(5)]
    assert len({dict(each.headers())["id"] for each in found}) == 5


async def test_a_cluster_that_is_not_there_holds_up_no_other_sink(tmp_path: Path, cluster: str) -> None:
    dead = document("dead", "kafka: {brokers: ['127.0.0.1:1'], timeoutSeconds: 1}")
    async with working(tmp_path, dead, document("lake", f"kafka: {{brokers: ['{cluster}'], topic: beside}}")) as hub:
        Sender(hub).send(*readings(0, 5))
        with anyio.fail_after(HANGS_S):
            assert (await drained(hub)).sent == 5
        await eventually(lambda: hub.sinks["dead"].failures)
        shown = await sinks.show_sink(hub, "dead")
        assert (shown.state, shown.lag, shown.sent) == ("Failing", 5, 0)
        assert "5 of 5 not acknowledged" in shown.message
        assert "refused" in shown.message


class Busy:
    """A producer whose cluster has taken everything, and which has other news to hand out."""

    def __init__(self, settings: dict[str, Any]) -> None:
        pass

    def produce(self, *_: Any, on_delivery: Callable[[Any, Any], None], **__: Any) -> None:
        on_delivery(None, None)

    def poll(self, within: float) -> int:
        return 0

    def flush(self, within: float) -> int:
        return 1

    def purge(self) -> None:
        pass


async def test_news_of_the_library_that_are_no_messages_make_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confluent_kafka.Producer", Busy)
    held = KafkaOutlet("lake", Kafka(("127.0.0.1:1",), "busy"))
    try:
        refusal = await held.send([entry(1, "x")])
        assert refusal == Refusal()
    finally:
        await held.close()


def entry(sequence: int, text: str) -> Entry:
    series = SeriesRow(1, SITE, "node-1", "press", "log", "", "good", "text")
    return Entry("p3", "i", series, Row(START, text, 1, sequence))


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_what_is_too_large_is_counted_and_passed(cluster: str) -> None:
    held = KafkaOutlet("lake", Kafka((cluster,), "large"))
    try:
        refusal = await held.send([entry(1, "a"), entry(2, "x" * 2_000_000), entry(3, "b")])
    finally:
        await held.close()
    assert refusal.count == 1
    assert "too large" in refusal.why
    found = await anyio.to_thread.run_sync(stored, cluster, "large")
    assert [json.loads(each.value())["value"] for each in found] == ["a", "b"]


async def test_a_batch_larger_than_what_may_wait_in_the_library_is_handed_over_whole(cluster: str) -> None:
    series = SeriesRow(1, SITE, "node-1", "press", "log", "", "good", "text")
    given = [Entry("p3", "i", series, Row(START, f"{n:04}" + "x" * 4000, 1, n)) for n in range(1, 6001)]
    held = KafkaOutlet("lake", Kafka((cluster,), "bulk"))
    try:
        assert (await held.send(given)).count == 0
    finally:
        await held.close()
    found = await anyio.to_thread.run_sync(stored, cluster, "bulk")
    assert [json.loads(each.value())["sequence"] for each in found] == list(range(1, 6001))


class Handshakes:
    """Takes TLS connections of clients that an authority signed for, and notes who they were."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.names: list[str] = []
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._socket.accept()
                with taken, contextlib.suppress(OSError), self._context.wrap_socket(taken, server_side=True) as secured:
                    subject: Any = (secured.getpeercert() or {})["subject"]
                    self.names.append(subject[0][0][1])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


async def test_tls_with_an_authority_and_a_certificate_from_files(tmp_path: Path) -> None:
    authority = Authority()
    for name, pair in (("server", authority.pair("127.0.0.1")), ("client", authority.pair("the hub"))):
        (tmp_path / f"{name}.pem").write_text(pair.cert)
        (tmp_path / f"{name}.key").write_text(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.load_verify_locations(cadata=authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Handshakes(context)
    spec = (
        f"kafka: {{brokers: ['127.0.0.1:{server.port}'], timeoutSeconds: 1, tls: {{caFile: {tmp_path}/ca.pem,"
        f" certificateFile: {tmp_path}/client.pem, keyFile: {tmp_path}/client.key}}}}"
    )
    try:
        async with working(tmp_path, document("lake", spec)) as hub:
            Sender(hub).send(*readings(0, 1))
            await eventually(lambda: "ca.pem" in hub.sinks["lake"].message)
            assert server.names == []
            (tmp_path / "ca.pem").write_text(authority.cert)
            await eventually(lambda: "the hub" in server.names)
    finally:
        server.close()
