"""The rival: a NATS leaf node with JetStream, whose stream a hub's stream mirrors, draining the same readings after an outage.

Debian's nats-server, installed when missing. The client is a plain socket with up to 4,000 publishes unacknowledged: the
Python client would be the limit. By its defaults JetStream acknowledges before it syncs.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from bench.line import PLAIN, Kind, Line
from bench.measured import Drained
from support.mosquitto import free_port

PROGRAM: Final = "nats-server"
UNACKED: Final = 4_000
WITHIN: Final = 180.0  # seconds for one drain to make progress


async def drain(lines: Sequence[str], down: float, kind: Kind = PLAIN) -> Drained:
    """Publish `lines` while the link is down, for `down` seconds at least, join it, and wait until the hub has them."""
    _install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hub_port, leaf_port, site_port = free_port(), free_port(), free_port()
        async with Line.running(leaf_port, kind) as line:
            # Without `advertise` a leaf learns the hub's own address and goes past the line.
            hub = (
                f'port: {hub_port}\nserver_name: hub\njetstream {{ store_dir: "{folder}/hub", domain: hub }}\n'
                f'leafnodes {{ listen: "127.0.0.1:{leaf_port}", advertise: "127.0.0.1:{line.port}" }}\n'
            )
            site = (
                f'port: {site_port}\nserver_name: site\njetstream {{ store_dir: "{folder}/site", domain: leaf }}\n'
                f'leafnodes {{ reconnect: 1, remotes: [ {{ url: "nats://127.0.0.1:{line.port}" }} ] }}\n'
            )
            with _server(folder, "hub", hub), _server(folder, "site", site):
                return await _measure(lines, line, hub_port, site_port, down)


async def _measure(lines: Sequence[str], line: Line, hub_port: int, site_port: int, down: float) -> Drained:
    site, hub = await _Client.connected(site_port), await _Client.connected(hub_port)
    await site.ask("$JS.API.STREAM.CREATE.DATA", {"name": "DATA", "subjects": ["data.>"], "storage": "file"})
    line.join()
    await asyncio.sleep(2.5)
    mirror = {"name": "DATA", "external": {"api": "$JS.leaf.API"}}
    await hub.ask("$JS.API.STREAM.CREATE.COPY", {"name": "COPY", "storage": "file", "mirror": mirror})
    await site.publish("data.x", ["probe"])
    await _until_held(hub, 1, WITHIN)  # so the mirror is known to work
    line.cut()
    cut = time.perf_counter()
    await asyncio.sleep(0.2)
    await site.publish("data.x", lines)
    await asyncio.sleep(max(0.0, cut + down - time.perf_counter()))
    if await _held(hub) != 1:
        raise RuntimeError("readings arrived over the cut link")
    joined = line.join()
    ended = await _until_held(hub, len(lines) + 1, WITHIN)
    site.close()
    hub.close()
    return Drained(len(lines), joined, line.flowing, ended, line.bytes_up)


async def _until_held(hub: "_Client", wanted: int, within: float) -> float:
    """Return when the hub's stream has so many messages; gives up after so long without a new one."""
    held, moved = 0, time.perf_counter()
    while True:
        found, now = await _held(hub), time.perf_counter()
        if found >= wanted:
            return now
        if found > held:
            held, moved = found, now
        elif now - moved > within:
            raise RuntimeError(f"NATS: {found} of {wanted} arrived, and no more for {within:.0f} s")
        await asyncio.sleep(0.01)


async def _held(hub: "_Client") -> int:
    return int((await hub.ask("$JS.API.STREAM.INFO.COPY", {}))["state"]["messages"])


class _Client:
    """As much of a NATS client as is needed: requests one at a time, and many publishes with their answers counted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inbox: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._inbox = inbox  # one of its own: a leaf carries all subjects both ways

    @classmethod
    async def connected(cls, port: int) -> Self:
        inbox = b"inbox.%d" % port
        for _ in range(200):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
                break
            except OSError:
                await asyncio.sleep(0.05)
        else:
            raise RuntimeError(f"{PROGRAM} does not listen")
        await reader.readline()  # INFO
        writer.write(
            b'CONNECT {"verbose":false,"pedantic":false,"no_responders":true,"headers":true}\r\nSUB %s 1\r\n' % inbox
        )
        return cls(reader, writer, inbox)

    async def ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; raises RuntimeError when it is an error."""
        payload = json.dumps(body).encode()
        self._writer.write(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), self._inbox, len(payload), payload))
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(self._message(), 30))
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer

    async def publish(self, subject: str, lines: Sequence[str]) -> None:
        """Return when the stream has acknowledged every line."""
        head, acked = b"PUB %s %s " % (subject.encode(), self._inbox), 0
        for start in range(0, len(lines), 500):
            part = [line.encode() for line in lines[start : start + 500]]
            self._writer.write(b"".join(head + b"%d\r\n%s\r\n" % (len(line), line) for line in part))
            await self._writer.drain()
            while start + len(part) - acked > UNACKED:
                acked += await self._acked()
        while acked < len(lines):
            acked += await self._acked()

    async def _acked(self) -> int:
        answer = json.loads(await asyncio.wait_for(self._message(), 30))
        if "error" in answer:
            raise RuntimeError(f"not stored: {answer['error']}")
        return 1

    async def _message(self) -> bytes:
        while True:
            line = await self._reader.readline()
            if line.startswith(b"PING"):
                self._writer.write(b"PONG\r\n")
            elif line.startswith((b"MSG", b"HMSG")):
                content = await self._reader.readexactly(int(line.split()[-1]) + 2)
                return content[:-2] if line.startswith(b"MSG") else b'{"error": "nobody answers"}'
            elif line.startswith(b"-ERR") or not line:
                raise RuntimeError(f"NATS: {line!r}")

    def close(self) -> None:
        self._writer.close()


def _install() -> None:
    if shutil.which(PROGRAM):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PROGRAM]
    quiet = subprocess.DEVNULL
    subprocess.run([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *command], check=True, stdout=quiet)
    # Debian starts what it installs; ours are started by hand.
    subprocess.run([*as_root, "systemctl", "disable", "--now", PROGRAM], check=False, capture_output=True)


@contextmanager
def _server(folder: Path, name: str, config: str) -> Iterator[None]:
    path = folder / f"{name}.conf"
    path.write_text(f"host: 127.0.0.1\n{config}")
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", PROGRAM, "-c", str(path)],
        stdout=(folder / f"{name}.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield
    finally:
        server.kill()
        server.wait()
