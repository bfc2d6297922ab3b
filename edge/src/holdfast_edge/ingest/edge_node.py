"""A bridge that is a Sparkplug edge node: what waits are readings, said as births and data of this node's devices.

Sparkplug's data travels at QoS 0. Here a reading leaves the queue once the broker has answered a round trip after it: what a
lost connection may have taken is said again. [inv: commit-before-ack]
"""

import contextlib
from typing import Final

import anyio
import msgspec

from holdfast_edge.core.sparkplug.edge_node import EdgeNode, Message
from holdfast_protocol.bridging.rules import Names
from holdfast_protocol.errors import LinkLost, MisuseError
from holdfast_protocol.kinds.bridge import Place, Wanted
from holdfast_protocol.relay.queue import Row
from holdfast_protocol.relay.run import Plan, Relay
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Options, Subscription, Will
from holdfast_protocol.wire.readings import Reading

FAREWELL: Final = 1.0  # seconds for saying that we go
AT_ONCE: Final = 500  # readings said before the broker is asked whether it has them
_READING: Final = msgspec.msgpack.Decoder(Reading)
_BIRTHS: Final = "births"  # the note with the number of the last connection's
_OLD: Final = 60_000  # milliseconds: what is older was taken while nobody listened


class EdgeNodeGiving:
    """One edge node. Made in a thread: it reads the queue. `options` before every
    connection: its will is the death of the birth that follows."""

    def __init__(self, relay: Relay, plan: Plan, want: Wanted, clock: Clock, place: Place) -> None:
        names = Names({**want.spec.values, "site": place.site, "node": place.node})
        group, node = names.filled("{group}"), names.filled("{edgeNode}")
        self._relay = relay
        self._options = plan.remote
        self._clock = clock
        self._node = EdgeNode(group, node, int(relay.queue.note(_BIRTHS) or b"0"))
        self._asked = False

    def options(self) -> Options:
        self._node.connect()
        death = self._node.death(self._now())
        will = Will(death.topic, death.payload, retain=False)
        return msgspec.structs.replace(self._options, will=will, clean_start=True, session_expiry=0)

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Say what waits and what comes, and births when the host asks; ends by LinkLost."""
        queue = self._relay.queue
        await queue.database.call(queue.keep_note, _BIRTHS, b"%d" % self._node.bd_seq)
        await connection.subscribe([Subscription(self._node.commands, 1)], beside=True)
        await self._say(connection, self._node.birth(self._now()))
        settled()
        relay, after = self._relay, 0
        try:
            while True:
                if self._asked:
                    self._asked = False
                    await self._say(connection, self._node.birth(self._now()))
                rows = await relay.queue.database.call(relay.queue.page, "out", after, AT_ONCE)
                if not rows:
                    await relay.news["out"].wait()
                    continue
                refused = await self._data(connection, rows)
                await connection.round_trip(beside=True)
                after = rows[-1].number
                bad = {number for number, _ in refused}
                sent = [row.number for row in rows if row.number not in bad]
                relay.sent("out", await relay.queue.database.call(relay.queue.settle, "out", sent, refused))
        finally:
            with anyio.CancelScope(shield=True):
                await self._part(connection)
                await relay.queue.database.call(relay.queue.let_go, "out")

    def hears(self, topic: str, payload: bytes) -> bool:
        """Return whether a message was the host's word to this node; a wanted birth is said soon."""
        if topic != self._node.commands:
            return False
        if self._node.asks_for_birth(topic, payload):
            self._asked = True
            self._relay.news["out"].tell()
        return True

    async def _data(self, connection: Connection, rows: list[Row]) -> list[tuple[int, str]]:
        """Say the readings of rows; return those that cannot be said."""
        refused: list[tuple[int, str]] = []
        said: list[tuple[int, Reading]] = []
        for row in rows:
            try:
                said.append((row.number, _READING.decode(row.entry.payload)))
            except (msgspec.DecodeError, UnicodeDecodeError):
                refused.append((row.number, "Unreadable"))
        now = self._now()
        old: list[Reading] = []
        fresh: list[Reading] = []
        for (number, reading), beyond in zip(said, self._node.beyond([each for _, each in said]), strict=True):
            if beyond:
                refused.append((number, "TooManySeries"))
            else:
                (old if now - reading.time > _OLD else fresh).append(reading)
        for readings, historical in ((old, True), (fresh, False)):
            await self._say(connection, self._node.data(readings, now, historical=historical))
        return refused

    async def _part(self, connection: Connection) -> None:
        """Say the death: after an orderly end the broker publishes no will."""
        death = self._node.death(self._now())
        with anyio.move_on_after(FAREWELL), contextlib.suppress(LinkLost):
            await connection.publish(death.topic, death.payload, qos=1)

    async def _say(self, connection: Connection, messages: list[Message]) -> None:
        for each in messages:
            try:
                await connection.publish(each.topic, each.payload, qos=each.qos)
            except MisuseError as error:
                raise LinkLost(error.message, reason=error.reason) from None

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)
