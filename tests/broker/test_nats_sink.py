"""Readings on their way into JetStream of a real nats-server."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from anyio.abc import SocketAttribute, SocketStream

from holdfast_hub.operations import sinks
from holdfast_protocol.wire.readings import Reading
from support import nats_server
from support.builders import SITE
from support.certificates import Authority
from support.clock import eventually
from support.device_data import Sender
from support.nats_operator import Operator
from support.nats_server import NatsServer
from support.sinks import START, document, drained, killed_after_delivery, readings, working
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio
STREAM = "READINGS"


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with nats_server.running() as held:
        yield held


@asynccontextmanager
async def stream(server: NatsServer, **settings: Any) -> AsyncIterator[Any]:
    """Yield JetStream with an empty stream of every subject below `holdfast`, gone afterwards."""
    async with await nats.connect(server.url) as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(name=STREAM, subjects=["holdfast.>"], **settings)
        try:
            yield jetstream
        finally:
            await jetstream.delete_stream(STREAM)


async def stored(jetstream: Any) -> list[Any]:
    count = (await jetstream.stream_info(STREAM)).state.messages
    return [await jetstream.get_msg(STREAM, seq=n + 1) for n in range(count)]


async def test_every_reading_is_a_message_under_its_subject_and_identity(tmp_path: Path, server: NatsServer) -> None:
    hostile = "a.b *>\r\né/"
    spec = f"nats: {{servers: ['{server.url}'], subject: 'holdfast.{{site}}.{{device}}.{{metric}}'}}"
    async with stream(server) as jetstream:
        async with working(tmp_path, document("lake", spec)) as hub:
            given = [Reading(hostile, "t", START, 0.5), Reading("", "state", START, "on", unit="x"), *readings(0, 600)]
            Sender(hub).send(*given)
            with anyio.fail_after(HANGS_S):
                view = await drained(hub)
            assert (view.to, view.sent, view.refused) == ("nats", 602, 0)
        found = await stored(jetstream)
    assert [each.subject for each in found[:3]] == [
        f"holdfast.{SITE}.a%2Eb%20%2A%3E%0D%0A%C3%A9%2F.t",
        f"holdfast.{SITE}.%.state",
        f"holdfast.{SITE}.press.t",
    ]
    records = [json.loads(each.data) for each in found]
    assert [each["sequence"] for each in records] == list(range(1, 603))
    assert [each["value"] for each in records] == [0.5, "on", *range(600)]
    assert records[0]["device"] == hostile
    for message, record in zip(found, records, strict=True):
        identity = "/".join(str(record[key]) for key in ("site", "node", "stream", "incarnation", "sequence"))
        assert message.headers == {"Nats-Msg-Id": identity}


@pytest.mark.invariant("commit-before-ack")
async def test_what_is_sent_again_after_a_kill_is_in_the_stream_once(tmp_path: Path, server: NatsServer) -> None:
    text = document("lake", f"nats: {{servers: ['{server.url}']}}")
    async with stream(server) as jetstream:
        await killed_after_delivery(tmp_path, text, *readings(0, 5))
        assert len(await stored(jetstream)) == 5
        async with working(tmp_path) as hub:
            with anyio.fail_after(HANGS_S):
                view = await drained(hub)
        assert view.sent == 5
        assert [json.loads(each.data)["value"] for each in await stored(jetstream)] == list(range(5))


async def test_a_server_that_is_killed_and_comes_back_misses_nothing(tmp_path: Path) -> None:
    with nats_server.running() as server:
        async with working(tmp_path, document("lake", f"nats: {{servers: ['{server.url}']}}", batch=2)) as hub:
            sender = Sender(hub)
            async with await nats.connect(server.url) as client:
                await client.jetstream().add_stream(name=STREAM, subjects=["holdfast.>"])
            sender.send(*readings(0, 3))
            with anyio.fail_after(HANGS_S):
                await drained(hub)
            server.kill()
            sender.send(*readings(3, 3))
            await eventually(lambda: hub.sinks["lake"].failures)
            assert hub.sinks["lake"].reason in ("Unreachable", "Refused")
            server.start()
            with anyio.fail_after(HANGS_S):
                view = await drained(hub)
        assert (view.sent, view.failures) == (6, 0)
        async with await nats.connect(server.url) as client:
            found = await stored(client.jetstream())
        assert [json.loads(each.data)["value"] for each in found] == list(range(6))


async def test_a_sink_with_no_stream_says_so_and_goes_on_when_there_is_one(tmp_path: Path, server: NatsServer) -> None:
    async with working(tmp_path, document("lake", f"nats: {{servers: ['{server.url}']}}")) as hub:
        Sender(hub).send(*readings(0, 3))
        await eventually(lambda: hub.sinks["lake"].failures)
        assert "no stream takes the subject" in (await sinks.show_sink(hub, "lake")).message
        async with stream(server) as jetstream:
            with anyio.fail_after(HANGS_S):
                assert (await drained(hub)).sent == 3
            assert len(await stored(jetstream)) == 3


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_what_is_too_large_for_the_stream_is_counted_and_passed(tmp_path: Path, server: NatsServer) -> None:
    async with stream(server, max_msg_size=1000) as jetstream:
        async with working(tmp_path, document("lake", f"nats: {{servers: ['{server.url}']}}")) as hub:
            poison = [Reading("press", "log", START, "x" * 2000), Reading("é" * 250, "é" * 250, START, 1)]
            Sender(hub).send(*readings(0, 3), *poison, *readings(3, 3))
            with anyio.fail_after(HANGS_S):
                view = await drained(hub)
            assert (view.sent, view.refused) == (6, 2)
            assert view.refusal
        assert [json.loads(each.data)["value"] for each in await stored(jetstream)] == list(range(6))


@pytest.mark.invariant("one-bad-message-never-blocks-a-queue")
async def test_what_is_larger_than_the_server_takes_is_never_sent(tmp_path: Path) -> None:
    """To the byte: a server ends the connection over one too many."""
    given = [Reading("press", "log", START, "x" * size) for size in range(600, 800)]
    text = "nats: {{servers: ['{}'], timeoutSeconds: 5}}"
    with nats_server.running("max_payload: 1000") as server:
        async with await nats.connect(server.url) as client:
            await client.jetstream().add_stream(name=STREAM, subjects=["holdfast.>"])
        async with working(tmp_path, document("lake", text.format(server.url))) as hub:
            Sender(hub).send(*given)
            with anyio.fail_after(HANGS_S):
                view = await drained(hub)
            assert view.sent + view.refused == 200
            assert view.sent > 20 < view.refused
            assert hub.sinks["lake"].failures == 0
            assert "too large" in view.refusal


async def test_a_stream_that_is_full_is_tried_again(tmp_path: Path, server: NatsServer) -> None:
    text = document("lake", f"nats: {{servers: ['{server.url}']}}", batch=2)
    async with stream(server, max_msgs=2, discard="new") as jetstream, working(tmp_path, text) as hub:
        sender = Sender(hub)
        sender.send(*readings(0, 2))
        with anyio.fail_after(HANGS_S):
            await drained(hub)
        sender.send(*readings(2, 2))
        await eventually(lambda: hub.sinks["lake"].failures)
        assert "maximum messages exceeded" in hub.sinks["lake"].message
        await jetstream.purge_stream(STREAM)
        with anyio.fail_after(HANGS_S):
            assert (await drained(hub)).sent == 4


@pytest.mark.parametrize(
    "said", [b"", b"\x00\xff\n" * 9, b"INFO []\r\n", b"INFO {\r\n", b'INFO {"max_payload": "x"}\r\nPONG\r\n'], ids=repr
)
async def test_a_server_that_talks_nonsense_is_a_failing_sink_and_no_more(tmp_path: Path, said: bytes) -> None:
    async def serve(client: SocketStream) -> None:
        async with client:
            await client.send(said or b"\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        port = listener.extra(SocketAttribute.local_port)
        group.start_soon(listener.serve, serve)
        spec = f"nats: {{servers: ['nats://127.0.0.1:{port}'], timeoutSeconds: 1}}"
        async with working(tmp_path, document("lake", spec)) as hub:
            Sender(hub).send(*readings(0, 3))
            await eventually(lambda: hub.sinks["lake"].failures > 1)
            assert (await sinks.show_sink(hub, "lake")).lag == 3
        group.cancel_scope.cancel()


async def test_tls_and_a_password_from_files(tmp_path: Path) -> None:
    authority = Authority()
    for name, pair in (("server", authority.pair("127.0.0.1")), ("client", authority.pair("hub"))):
        (tmp_path / f"{name}.pem").write_text(pair.cert)
        (tmp_path / f"{name}.key").write_text(pair.key)
    (tmp_path / "ca.pem").write_text(authority.cert)
    (tmp_path / "password").write_text("wrong\n")
    tls = f"cert_file: '{tmp_path}/server.pem', key_file: '{tmp_path}/server.key', ca_file: '{tmp_path}/ca.pem'"
    extra = f"tls {{ {tls}, verify: true }}\nauthorization {{ users: [ {{user: hub, password: sesame}} ] }}"
    with nats_server.running(extra.replace(", ", "\n")) as server:
        spec = (
            f"nats: {{servers: ['{server.url}'], username: hub, passwordFile: {tmp_path}/password, timeoutSeconds: 5, tls:"
            f" {{caFile: {tmp_path}/ca.pem, certificateFile: {tmp_path}/client.pem, keyFile: {tmp_path}/client.key}}}}"
        )
        async with working(tmp_path, document("lake", spec)) as hub:
            Sender(hub).send(*readings(0, 3))
            await eventually(lambda: "uthorization" in hub.sinks["lake"].message)
            (tmp_path / "password").write_text("sesame\n")
            await eventually(lambda: "no stream takes the subject" in hub.sinks["lake"].message)


async def test_credentials_of_a_user_whom_an_operator_s_account_signed(tmp_path: Path) -> None:
    operator, path = Operator(), tmp_path / "user.creds"
    path.write_text(Operator().credentials().replace("SEED-", "-"))
    with nats_server.running(operator.configuration) as server:
        text = document("lake", f"nats: {{servers: ['{server.url}'], credentialsFile: {path}, timeoutSeconds: 5}}")
        async with working(tmp_path, text) as hub:
            Sender(hub).send(*readings(0, 3))
            await eventually(lambda: "no token and key of a NATS user" in hub.sinks["lake"].message)
            path.write_text(Operator().credentials())
            await eventually(lambda: "uthorization" in hub.sinks["lake"].message)
            path.write_text(operator.credentials())
            await eventually(lambda: "no stream takes the subject" in hub.sinks["lake"].message)


async def test_a_server_without_tls_is_told_no_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame\n")
    with nats_server.running("authorization { users: [ {user: hub, password: sesame} ] }") as server:
        spec = f"nats: {{servers: ['{server.url}'], username: hub, passwordFile: {tmp_path}/password, tls: {{}}}}"
        async with working(tmp_path, document("lake", spec)) as hub:
            Sender(hub).send(*readings(0, 3))
            await eventually(lambda: hub.sinks["lake"].failures > 1)
            assert "secure connection" in hub.sinks["lake"].message.lower()
            assert (await sinks.show_sink(hub, "lake")).sent == 0
