"""Mosquitto and its nastier twin behind one face, for tests of what both must keep."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec

from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.mqtt import Connected, Connection, Options
from support.broker import FakeBroker
from support.mosquitto import Mosquitto


class Broker:
    """A broker to test the port on. `kill` ends it at once; what it forgets then is its own affair."""

    def __init__(
        self,
        dial: Callable[[Options], Connection],
        kill: Callable[[], None],
        start: Callable[[], None],
        cut: Callable[[Connection], None],
        port: int,
    ) -> None:
        self._dial = dial
        self._options = Options(client_id="tester", port=port)
        self.kill = kill
        self.start = start
        self.cut = cut  # one connection, without a word

    @classmethod
    def twin(cls) -> Self:
        fake = FakeBroker(duplicate=0, drop=0, max_packet=8 * 1024 * 1024)
        return cls(fake.dial, fake.cut, fake.heal, lambda each: each.lose("cut", "Lost"), 1)  # type: ignore[attr-defined]

    @classmethod
    def real(cls, running: Mosquitto) -> Self:
        def cut(connection: Connection) -> None:
            connection._fail("cut", "Lost")  # type: ignore[attr-defined]  # closes the socket and says nothing

        return cls(paho.dial, running.kill, running.start, cut, running.port)

    def dial(self, client_id: str, **options: Any) -> Connection:
        return self._dial(msgspec.structs.replace(self._options, client_id=client_id, **options))

    @asynccontextmanager
    async def connected(self, client_id: str, **options: Any) -> AsyncIterator[tuple[Connection, Connected]]:
        connection = self.dial(client_id, **options)
        try:
            yield connection, await connection.connect()
        finally:
            await connection.close()
