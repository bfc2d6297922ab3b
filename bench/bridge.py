"""The rival: a Mosquitto bridge that hands the same readings from one broker to another after an outage, from memory.

It is given every advantage: queues without bounds, nothing written to disk, told to try again every second instead of ever
rarer ones, and a reader that only counts bytes at the far end.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.line import PLAIN, Kind, Line
from bench.measured import Drained
from support.mosquitto import free_port
from support.waiting import until

TOPIC: Final = "data/x"
CHUNK: Final = 60_000  # lines a publisher: beyond 65,535 `mosquitto_pub -l` stops without a word
_COMMON: Final = (
    "allow_anonymous true\nmax_queued_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\nlog_type error\n"
)


async def drain(lines: Sequence[str], down: float, kind: Kind = PLAIN, *, inflight: int = 0) -> Drained:
    """Publish `lines` while the link is down, for `down` seconds at least, join it, and wait until the far end has them.

    `inflight` messages without an acknowledgement, 0 for Mosquitto's own 20.
    """
    common = _COMMON + (f"max_inflight_messages {inflight}\n" if inflight else "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud, site = free_port(), free_port()
        with _broker(folder, "cloud", f"listener {cloud} 127.0.0.1\n{common}", cloud):
            async with Line.running(cloud, kind) as line:
                bridge = (
                    f"connection edge\naddress 127.0.0.1:{line.port}\ntopic data/# out 1\ncleansession false\n"
                    "restart_timeout 1\nnotifications false\nbridge_protocol_version mqttv50\n"
                )
                with _broker(folder, "site", f"listener {site} 127.0.0.1\n{common}{bridge}", site):
                    return await _measure(lines, line, cloud, site, down)


async def _measure(lines: Sequence[str], line: Line, cloud: int, site: int, down: float) -> Drained:
    reader, writer = await _subscribed(cloud)
    line.join()  # once connected, so that the bridge's session is known at both ends
    await asyncio.sleep(2.5)
    line.cut()
    cut = time.perf_counter()
    await asyncio.sleep(0.2)
    for start in range(0, len(lines), CHUNK):
        await _publish(lines[start : start + CHUNK], site)
    wanted = sum(map(_size, lines))
    await asyncio.sleep(max(0.0, cut + down - time.perf_counter()))
    joined = line.join()
    while wanted > 0:
        wanted -= len(await asyncio.wait_for(reader.read(1 << 20), 120))
    ended = time.perf_counter()
    writer.close()
    if wanted < 0:
        raise RuntimeError("more than was sent arrived, or something got through the cut link")
    return Drained(len(lines), joined, line.flowing, ended, line.bytes_up)


async def _subscribed(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a plain MQTT 3.1.1 connection that gets every message at QoS 0. Bytes are all that is counted on it: a
    client that handles message by message would be slower than the bridge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04seen")
    await reader.readexactly(4)
    writer.write(b"\x82\x0b\x00\x01\x00\x06data/#\x00")
    await reader.readexactly(5)
    return reader, writer


def _size(line: str) -> int:
    """Return the bytes of a line as a QoS 0 message on TOPIC."""
    rest = 2 + len(TOPIC) + len(line.encode())
    return rest + (2 if rest < 128 else 3)


async def _publish(lines: Sequence[str], port: int) -> None:
    publisher = await asyncio.create_subprocess_exec(
        *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", TOPIC, "-l"),
        stdin=asyncio.subprocess.PIPE,
    )
    await publisher.communicate("".join(f"{line}\n" for line in lines).encode())
    if publisher.returncode != 0:
        raise RuntimeError(f"mosquitto_pub ended with {publisher.returncode}")


@contextmanager
def _broker(folder: Path, name: str, config: str, port: int) -> Iterator[None]:
    path = folder / f"{name}.conf"
    path.write_text(config)
    broker = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "/usr/sbin/mosquitto", "-c", str(path)])
    try:
        probe = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-t", "probe", "-n"]
        until(
            lambda: subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 0,
            10,
            f"the {name} broker",
        )
        yield
    finally:
        broker.kill()
        broker.wait()
