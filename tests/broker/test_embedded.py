"""A broker of our own: there when it is needed, back when it was killed, gone when its parent is."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast_protocol.errors import LinkLost, MisuseError, PermanentError, UnsupportedError
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.broker import STORE, EmbeddedBroker, configuration
from holdfast_protocol.runtime.mqtt import Options
from support import mosquitto
from support.clock import Running, eventually
from support.waiting import HANGS_S, until

pytestmark = pytest.mark.anyio
HOST = "127.0.0.1"


def hubs(folder: Path, port: int) -> EmbeddedBroker:
    return EmbeddedBroker(folder, HOST, port, configuration("hub.conf", listen=HOST, port=port, folder=folder))


@asynccontextmanager
async def embedded(folder: Path, port: int) -> AsyncIterator[EmbeddedBroker]:
    broker = hubs(folder, port)
    async with Running(broker.run):
        with anyio.fail_after(HANGS_S):
            await broker.ready()
        yield broker


async def publish(port: int, topic: str = "t/a", *, retain: bool = False) -> None:
    connection = paho.dial(Options(client_id="tester", port=port, clean_start=True))
    await connection.connect()
    await connection.publish(topic, b"x", retain=retain)
    await connection.close()


async def test_it_serves_and_is_gone_in_order_when_it_is_ended(tmp_path: Path) -> None:
    port = mosquitto.free_port()
    async with embedded(tmp_path / "new" / "broker", port) as broker:
        await publish(port, retain=True)
        pid = broker.pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(LinkLost):
        await publish(port)
    assert (tmp_path / "new" / "broker" / STORE).stat().st_size > 0
    assert (tmp_path / "new" / "broker").stat().st_mode & 0o777 == 0o700


async def test_it_comes_back_after_every_kill(tmp_path: Path) -> None:
    port = mosquitto.free_port()
    async with embedded(tmp_path, port) as broker:
        seen: list[int | None] = [None]
        for _ in range(3):
            assert broker.pid is not None
            seen.append(broker.pid)
            os.kill(broker.pid, signal.SIGKILL)
            await eventually(lambda: broker.pid not in seen)
            with anyio.fail_after(HANGS_S):
                await broker.ready()
            await publish(port)
        assert broker.starts == 4


@pytest.mark.parametrize("account", ["", "mosquitto"])
async def test_it_dies_with_its_parent_whoever_it_runs_as(account: str, tmp_path: Path) -> None:
    port = mosquitto.free_port()
    program = (
        "import anyio, sys\nfrom pathlib import Path\nfrom holdfast_protocol.runtime.broker import EmbeddedBroker\n"
        "async def main():\n"
        "    port, text, account = int(sys.argv[2]), sys.argv[3], sys.argv[4]\n"
        "    broker = EmbeddedBroker(Path(sys.argv[1]), '127.0.0.1', port, text, account=account)\n"
        "    async with anyio.create_task_group() as group:\n"
        "        group.start_soon(broker.run)\n"
        "        await broker.ready()\n"
        "        print(broker.pid, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    text = configuration("hub.conf", listen=HOST, port=port, folder=Path())
    words = [sys.executable, "-c", program, tmp_path, str(port), text, account]
    hub = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert hub.stdout is not None
    with hub, hub.stdout:
        pid = int(hub.stdout.readline())
        hub.kill()
    until(lambda: not Path(f"/proc/{pid}/exe").is_symlink() or _is_zombie(pid), HANGS_S, "the broker to end")
    async with embedded(tmp_path, port):  # the next parent finds its place free
        await publish(port)


def _is_zombie(pid: int) -> bool:
    """The kernel's process 1 may be slow to bury what lost its parent."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


async def test_a_store_it_cannot_read_is_set_aside_and_not_thrown_away(tmp_path: Path) -> None:
    (tmp_path / STORE).write_bytes(b"nothing that Mosquitto wrote" * 100)
    port = mosquitto.free_port()
    async with embedded(tmp_path, port) as broker:
        assert broker.starts == 2
        await publish(port)
    assert (tmp_path / f"{STORE}.unreadable").read_bytes().startswith(b"nothing that Mosquitto wrote")


async def test_an_address_that_is_taken_is_said_to_be_and_the_other_broker_left_alone(
    real: mosquitto.Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_protocol.runtime.broker.STOP_WITHIN", 0.1)
    with pytest.raises(PermanentError) as caught:
        await hubs(tmp_path, real.port).run()
    assert caught.value.reason == "AddressInUse"
    assert caught.value.hint
    await publish(real.port)


async def test_a_broker_that_never_comes_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="listener") as caught:
        await EmbeddedBroker(tmp_path, HOST, mosquitto.free_port(), "listener not-a-port\n").run()
    assert caught.value.reason == "BrokerFailed"


async def test_without_mosquitto_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(UnsupportedError) as caught:
        await hubs(tmp_path, 1).run()
    assert "mosquitto" in caught.value.hint


@pytest.mark.parametrize("name", ["hub.conf", "site.conf"])
def test_every_place_of_a_configuration_is_filled_in(name: str, tmp_path: Path) -> None:
    text = configuration(name, listen=HOST, port=1883, folder=tmp_path, user="holdfast")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert f"listener 1883 {HOST}" in lines
    assert f"persistence_location {tmp_path}/" in lines
    assert "user holdfast" in lines
    assert not [line for line in lines if "@" in line]


def test_nothing_can_be_smuggled_into_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(MisuseError):
        configuration("hub.conf", listen=f"{HOST}\nlistener 1 0.0.0.0", port=1, folder=tmp_path)
