"""A device that publishes 1, 2, 3 … at QoS 1 and knows which numbers its broker has acknowledged.

`python publisher.py HOST PORT DEVICE FILE [PER_SECOND]` appends every acknowledged number to FILE, one a line, and ends at
SIGTERM after the number it is at; started again it goes on after FILE's last. A number not acknowledged when a connection
is lost is published again.
"""

import signal
import sys
from pathlib import Path

import anyio

from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime.mqtt import Connection, Options
from holdfast_protocol.runtime.paho import dial


async def publish(host: str, port: int, device: str, file: Path, per_second: float) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(_run_signals, stop)
        number = 1 + max(map(int, file.read_text().split() if file.exists() else []), default=0)
        while not stop.is_set():
            connection = dial(Options(client_id=f"device-{device}", host=host, port=port))
            try:
                await connection.connect()
                number = await _numbers(connection, device, file, number, per_second, stop)
            except LinkLost:
                await anyio.sleep(0.05)
            finally:
                await connection.close()
        group.cancel_scope.cancel()


async def _numbers(
    connection: Connection, device: str, file: Path, number: int, per_second: float, stop: anyio.Event
) -> int:
    with file.open("a") as sent:
        while not stop.is_set():
            await connection.publish(f"devices/{device}/count", str(number).encode())
            sent.write(f"{number}\n")
            sent.flush()
            number += 1
            with anyio.move_on_after(1 / per_second):
                await stop.wait()
    return number


async def _run_signals(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()
            return


if __name__ == "__main__":
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else 50.0
    anyio.run(publish, sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), rate)
