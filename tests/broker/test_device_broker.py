"""The broker an agent runs for its devices: who may come, what outlives a kill, and what is said when it cannot run."""

import contextlib
import os
import pwd
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdfast_edge.ingest import site_broker
from holdfast_edge.ingest.devices import run_devices
from holdfast_edge.ingest.site_broker import ACCOUNT, run_site_broker
from holdfast_edge.settings import DOOR, Broker, Near
from holdfast_edge.store.outbox import Outbox
from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.broker import STORE
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Options
from support import mosquitto
from support.certificates import Authority
from support.clock import Running, eventually
from support.devices import Site, stored_readings
from support.sources import running_sources, secret, source
from support.streams import open_outbox
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.02))


class Ground:
    """An agent's part that runs the broker, and its folder."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.folder = folder / "broker"
        self.given = Broker(port=mosquitto.free_port(), **given)
        self.problem = "not said yet"
        self.said: list[str] = []

    def note(self, problem: str) -> None:
        self.problem = problem
        self.said.append(problem)

    @property
    def door(self) -> str:
        return str(self.folder / DOOR)

    @property
    def pids(self) -> list[int]:
        """Of whatever was started in the folder."""
        return mosquitto.standing_in(self.folder)

    async def ready(self) -> None:
        await eventually(lambda: self.problem == "")


@asynccontextmanager
async def running(ground: Ground) -> AsyncIterator[Ground]:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_site_broker(ground.given, ground.folder, Hasty(), memory_mb=96, note=ground.note))
        yield ground
        group.cancel_scope.cancel()


@asynccontextmanager
async def outbox_in(folder: Path) -> AsyncIterator[Outbox]:
    with contextlib.closing(open_outbox(folder)) as outbox:
        yield outbox


@asynccontextmanager
async def hearing(ground: Ground, outbox: Outbox) -> AsyncIterator[None]:
    """Take what devices say, as the agent does."""
    links: list[LinkState] = []
    source = Site(port=ground.given.port)
    async with Running(
        lambda: run_devices(paho.dial, source, outbox, Hasty(), unix=ground.door, on_state=links.append)
    ):
        await eventually(lambda: links and links[-1].doing == "settled")
        yield


async def publish(ground: Ground, number: int, **how: Any) -> None:
    """Say one number as a device does, and go; raises LinkLost when that is not let in."""
    asked: dict[str, Any] = {"client_id": "press-1", "host": "127.0.0.1", "port": ground.given.port, **how}
    connection = paho.dial(Options(**asked))
    with anyio.fail_after(HANGS_S):
        try:
            await connection.connect()
            await connection.publish("devices/press-1/pressure", b"%d" % number)
        finally:
            await connection.close()


async def stored(outbox: Outbox) -> list[object]:
    return [each.value for each in await stored_readings(outbox)]


async def test_devices_of_either_version_are_heard_and_what_they_said_outlives_a_kill(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    async with running(ground), outbox_in(tmp_path) as outbox:
        await ground.ready()
        async with hearing(ground, outbox):
            await publish(ground, 1)
            await publish(ground, 2, version=4)
            await eventually_stored(outbox, [1, 2])
        await publish(ground, 424242)
        store = ground.folder / STORE  # Mosquitto acknowledges first and writes then
        await eventually(lambda: store.exists() and b"424242" in store.read_bytes())
        before = ground.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: ground.pids and not set(ground.pids) & set(before))
        async with hearing(ground, outbox):
            await publish_until_let_in(ground, 4)
            await eventually_stored(outbox, [1, 2, 424242, 4])
    assert ground.pids == [], "it ends with the agent"


async def publish_until_let_in(ground: Ground, number: int, **how: Any) -> None:
    with anyio.fail_after(HANGS_S):
        while True:
            try:
                return await publish(ground, number, **how)
            except LinkLost:
                await anyio.sleep(0.02)


async def eventually_stored(outbox: Outbox, values: list[object]) -> None:
    with anyio.fail_after(HANGS_S):
        while await stored(outbox) != values:
            await anyio.sleep(0.02)


async def test_it_runs_as_nobody_else_and_only_the_agent_has_the_door(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    async with running(ground):
        await ground.ready()
        owner = pwd.getpwnam(ACCOUNT).pw_uid if os.geteuid() == 0 else os.geteuid()
        assert ground.folder.stat().st_mode & 0o777 == 0o700
        assert ground.folder.stat().st_uid == owner
        assert {os.stat(f"/proc/{pid}").st_uid for pid in ground.pids} == {owner}


async def test_with_passwords_a_device_needs_one_and_the_agent_none(tmp_path: Path) -> None:
    passwords, access = tmp_path / "passwords", tmp_path / "access"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "press", "much secret"], check=True, capture_output=True)
    access.write_text("user press\ntopic write devices/press-1/#\n")
    ground = Ground(tmp_path, passwords=str(passwords), access=str(access))
    async with running(ground), outbox_in(tmp_path) as outbox:
        await ground.ready()
        for how in ({}, {"username": "press", "password": "guessed"}):
            with pytest.raises(LinkLost):
                await publish(ground, 0, **how)
        async with hearing(ground, outbox):
            await publish(ground, 1, username="press", password="much secret")
            await eventually_stored(outbox, [1])
        subprocess.run(["mosquitto_passwd", "-b", passwords, "pump", "other"], check=True, capture_output=True)
        access.write_text("user pump\ntopic write devices/#\n")
        await publish_until_let_in(ground, 2, username="pump", password="other")
        assert set(ground.said) == {""}, "that a file changed is no trouble"


async def test_a_source_that_names_it_and_no_login_has_the_agent_s_own_way_in(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "press", "much secret"], check=True, capture_output=True)
    ground = Ground(tmp_path, passwords=str(passwords))
    port = ground.given.port
    near = Near("127.0.0.1", port, ground.door)
    async with running(ground), outbox_in(tmp_path) as outbox:
        await ground.ready()
        async with running_sources(tmp_path / "sources", outbox, near=near) as site:
            given = {"host": "localhost", "port": port, "topics": ["devices/#"]}
            guessed = {"username": "press", "password": {"secret": "guess", "key": "word"}}
            named = source("named", mqtt={**given, **guessed})
            await site.apply(source("open", mqtt=given), named, secret("guess", word="wrong"))
            await eventually(lambda: site.is_connected("open"))
            await eventually(lambda: site.reason("named") == "Refused")
            await publish(ground, 1, username="press", password="much secret")
            await eventually_stored(outbox, [1])


async def test_with_an_authority_a_device_needs_a_certificate(tmp_path: Path) -> None:
    authority, other = Authority(), Authority("another")
    for name, text in zip(("certificate", "key"), authority.pair("site"), strict=True):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "ca").write_text(authority.cert)
    names = {"certificate": "certificate", "key": "key", "client_ca": "ca"}
    ground = Ground(tmp_path, **{key: str(tmp_path / name) for key, name in names.items()})

    def context(signed_by: Authority | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=authority.cert)
        if signed_by is not None:
            both = tmp_path / "client.pem"
            both.write_text("".join(signed_by.pair("press-1")))
            made.load_cert_chain(both)
        return made

    async with running(ground):
        await ground.ready()
        for tls in (None, context(None), context(other)):
            with pytest.raises(LinkLost):
                await publish(ground, 0, tls=tls)
        await publish(ground, 1, tls=context(authority))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"passwords": "/nowhere/passwords"}, "broker.passwords: /nowhere/passwords: No such file"),
        ({"host": "192.0.2.1"}, "no broker can listen on 192.0.2.1"),
    ],
)
async def test_what_keeps_it_from_running_is_said_and_it_is_tried_again(
    given: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_protocol.runtime.broker.STOP_WITHIN", 0.05)
    ground = Ground(tmp_path, **given)
    async with running(ground):
        await eventually(lambda: [said in each for each in ground.said].count(True) >= 2)


async def test_nothing_of_its_folder_leads_root_elsewhere(tmp_path: Path) -> None:
    """Who runs as the broker may write its folder: what lies there is replaced, never followed."""
    ground = Ground(tmp_path)
    ground.folder.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    owner = precious.stat().st_uid
    for name in ("mosquitto.conf", "mosquitto.conf.new", "mosquitto.db"):
        (ground.folder / name).symlink_to(precious)
    async with running(ground):
        await eventually(lambda: ground.said)
        assert precious.read_text() == "as it was"
        assert precious.stat().st_uid == owner


def test_its_queues_are_bounded_by_what_the_agent_may_take() -> None:
    text = site_broker.site_configuration(Broker(), 96)
    lines = text.splitlines()
    assert f"max_queued_bytes {24 * 1024 * 1024}" in lines
    assert lines.count("allow_anonymous true") == 2
    closed = site_broker.site_configuration(Broker(passwords="/etc/p"), 96).splitlines()
    at = closed.index("listener 1883 127.0.0.1")
    assert "allow_anonymous true" not in closed[at : closed.index(f"listener 0 {DOOR}")]
