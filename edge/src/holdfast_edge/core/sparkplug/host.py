"""The Sparkplug host application: what edge nodes say, as readings and events, and what to ask them.

Nothing here knows a broker or a clock: every call is given the time. Whatever the bytes, no call raises. Bounded in edge
nodes, devices, metrics and in what waits for its turn.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from holdfast_edge.core.sparkplug.commands import command
from holdfast_edge.core.sparkplug.encoding import rebirth_command
from holdfast_edge.core.sparkplug.names import Topic, device_id, topic_of
from holdfast_edge.core.sparkplug.payload import Payload, opened
from holdfast_edge.core.sparkplug.rebirths import Node, Rebirths
from holdfast_edge.core.sparkplug.sequence import Sequence
from holdfast_edge.core.sparkplug.tables import BD_SEQ, Table
from holdfast_edge.core.sparkplug.values import INT64, value_of
from holdfast_protocol.mapping.values import Rejection, Unfit
from holdfast_protocol.wire.messages import Record
from holdfast_protocol.wire.readings import Reading

MAX_NODES: Final = 1_000
MAX_DEVICES: Final = 500  # of one edge node
MAX_KNOWN: Final = 50_000  # metrics of all births together
MAX_HELD: Final = 4 * 1024 * 1024  # bytes of messages that came early, all nodes together
REBORN_WITHIN: Final = 30.0  # seconds after its edge node's birth in which a device has its own


class Now(NamedTuple):
    wall: int  # milliseconds since 1970
    boottime: float  # seconds since boot


class Publish(msgspec.Struct, frozen=True):
    """A command to an edge node: QoS 0, not retained."""

    topic: str
    payload: bytes


class Outcome(msgspec.Struct):
    """What one or more calls came to."""

    readings: list[Reading] = []
    events: list[Record] = []
    rejected: list[tuple[str, Rejection]] = []  # with the topic


class _Held(NamedTuple):
    topic: Topic
    payload: bytes
    received: int


class _EdgeNode:
    """`sequence` is None until the first birth."""

    def __init__(self, name: str) -> None:
        self.table = Table(name)
        self.devices: dict[str, Table] = {}
        self.sequence: Sequence[_Held] | None = None
        self.bd_seq: int | None = None
        self.heard = 0.0
        self.missing = 0  # messages reported as missing already

    def tables(self) -> Iterator[Table]:
        yield self.table
        yield from self.devices.values()

    @property
    def waits(self) -> bool:
        early = self.sequence is not None and self.sequence.due is not None
        return early or any(table.due is not None for table in self.tables())

    @property
    def size(self) -> int:
        return sum(len(table.known) for table in self.tables())


class Host:
    """`members` grows and shrinks with the edge nodes that had a birth; `revision` says when it did."""

    def __init__(self, members: tuple[Node, ...] = (), now: float = 0.0) -> None:
        self.revision = 0
        self._nodes: dict[Node, _EdgeNode] = {}
        self._rebirths = Rebirths()
        self._waiting: dict[Node, None] = {}  # for something to come, or for time to pass
        self._held = 0  # bytes
        self._known = 0  # metrics
        self._remembered = dict.fromkeys(members[:MAX_NODES])
        for node in self._remembered:
            self._rebirths.want(node, now)

    @property
    def members(self) -> tuple[Node, ...]:
        """Edge nodes to ask for a birth when everything else here is forgotten."""
        return tuple(self._remembered)

    @property
    def online(self) -> int:
        """How many edge nodes there are now."""
        return sum(node.table.online for node in self._nodes.values())

    def take(self, topic: str, payload: bytes, now: Now, outcome: Outcome) -> None:
        """Add to `outcome` what a message comes to."""
        try:
            self._take(_Held(topic_of(topic), payload, now.wall), now, outcome)
        except Unfit as unfit:
            outcome.rejected.append((topic, unfit.rejection()))

    def resume(self, session_present: bool, now: float) -> None:
        """A connection was made again. Without a session, what happened meanwhile is lost: everybody is asked."""
        if not session_present:
            for key, node in self._nodes.items():
                if node.sequence is not None:
                    node.sequence.break_off()
                    self._rebirths.want(key, now)

    def pass_time(self, now: Now, outcome: Outcome) -> None:
        """Add to `outcome` what is so because time has passed. To be called every second or so."""
        for key in list(self._waiting):
            node = self._nodes[key]
            if node.sequence is not None and node.sequence.due is not None and node.sequence.due <= now.boottime:
                self._give_up(key, node, now, outcome)
            for table in node.tables():
                if table.due is not None and table.due <= now.boottime:
                    self._lose(table, now.wall, "NotReborn", outcome)
            if not node.waits:
                del self._waiting[key]

    def commands(self, now: Now) -> list[Publish]:
        """Return the requests for births that are due, and count them as sent."""
        return [Publish(*rebirth_command(*node, now.wall)) for node in self._rebirths.due(now.boottime)]

    def command(self, device: str, metric: str, data: Any, now: Now) -> Publish | None:
        """Return what tells a device to have `data` at a metric, names as they are here; None while it is not online.

        Raises Unfit `UnknownMetric`, `BadValue`.
        """
        for key, node in self._nodes.items():
            tables = {"": node.table, **node.devices} if device.startswith(node.table.device) else {}
            for name, table in tables.items():
                if table.device == device and table.online and node.table.online:
                    path, alias, known = table.told(metric)
                    return Publish(
                        *command(Topic(key.group, "NCMD", key.node, name), path, alias, known, data, now.wall)
                    )
        return None

    def _take(self, held: _Held, now: Now, outcome: Outcome) -> None:
        key, kind = Node(held.topic.group, held.topic.node), held.topic.kind
        if kind in ("NCMD", "DCMD"):
            raise Unfit("BadTopic", "a command, where births, data and deaths were expected")
        payload = opened(held.payload)
        if kind == "NDEATH":
            self._die(key, payload, now, outcome)
            return
        if not 0 <= payload.sequence < 256:
            raise Unfit("BadSequence", "no sequence number from 0 to 255")
        node = self._node(key, now.boottime)
        if kind == "NBIRTH":
            self._bear(key, node, payload, now, outcome)
            return
        if node.sequence is None or not node.table.online:
            self._rebirths.want(key, now.boottime)
            raise Unfit("NoBirth", "the edge node's birth was not heard; it is asked for")
        ready = node.sequence.take(payload.sequence, held, now.boottime)
        if ready is None:
            self._rebirths.want(key, now.boottime)
            raise Unfit("OutOfSequence", f"number {payload.sequence} came before, or too late")
        if not ready:
            self._held += len(held.payload)
            self._waiting[key] = None
            if self._held > MAX_HELD:
                self._give_up(key, node, now, outcome)
            return
        for each in ready:
            if each is held:
                self._read(key, node, held.topic, payload, held.received, now, outcome)
            else:
                self._release(key, node, each, now, outcome)
        if node.sequence.broken:
            self._say_missing(key, node, now, outcome)

    def _release(self, key: Node, node: _EdgeNode, held: _Held, now: Now, outcome: Outcome) -> None:
        self._held -= len(held.payload)
        try:
            self._read(key, node, held.topic, opened(held.payload), held.received, now, outcome)
        except Unfit as unfit:
            outcome.rejected.append((str(held.topic), unfit.rejection()))

    def _give_up(self, key: Node, node: _EdgeNode, now: Now, outcome: Outcome) -> None:
        """What is missing does not come: take what waited, and ask for a birth."""
        self._end_waiting(key, node, now, outcome)
        self._say_missing(key, node, now, outcome)

    def _end_waiting(self, key: Node, node: _EdgeNode, now: Now, outcome: Outcome) -> None:
        if node.sequence is not None:
            for held in node.sequence.give_up():
                self._release(key, node, held, now, outcome)

    def _say_missing(self, key: Node, node: _EdgeNode, now: Now, outcome: Outcome) -> None:
        self._rebirths.want(key, now.boottime)
        if node.sequence is not None and node.sequence.missing > node.missing:
            missing, node.missing = node.sequence.missing - node.missing, node.sequence.missing
            outcome.events.append(Record("SequenceGap", now.wall, {"device": node.table.device, "missing": missing}))

    def _read(
        self, key: Node, node: _EdgeNode, topic: Topic, payload: Payload, received: int, now: Now, outcome: Outcome
    ) -> None:
        assert node.sequence is not None, "only a node with a sequence is read"
        table = node.table if not topic.device else node.devices.get(topic.device)
        if topic.kind == "DBIRTH":
            table = table or self._device(node, topic)
            self._learn(table, payload, received, outcome, str(topic))
            return
        if table is None or not table.online:
            if topic.kind != "DDEATH":
                self._rebirths.want(key, now.boottime)
            raise Unfit("NoBirth", "the device's birth was not heard; the edge node's is asked for")
        if topic.kind == "DDEATH":
            self._lose(table, received, "Death", outcome)
            return
        trusted = not node.sequence.broken
        readings, rejected = table.read(payload, received, trusted=trusted)
        outcome.readings += readings
        outcome.rejected += [(str(topic), each) for each in rejected]
        if not trusted or any(each.reason == "UnknownMetric" for each in rejected):
            self._rebirths.want(key, now.boottime)

    def _bear(self, key: Node, node: _EdgeNode, payload: Payload, now: Now, outcome: Outcome) -> None:
        self._end_waiting(key, node, now, outcome)
        self._learn(node.table, payload, now.wall, outcome, str(Topic(key.group, "NBIRTH", key.node)))
        node.sequence, node.missing = Sequence(payload.sequence), 0
        node.bd_seq = _bd_seq(payload)
        for table in node.devices.values():
            table.due = now.boottime + REBORN_WITHIN if table.online else None
            table.online = False
        if node.waits:
            self._waiting[key] = None
        self._rebirths.answered(key, now.boottime)
        if key not in self._remembered:
            self._remembered[key] = None
            if len(self._remembered) > MAX_NODES:
                del self._remembered[next(iter(self._remembered))]
            self.revision += 1

    def _learn(self, table: Table, payload: Payload, received: int, outcome: Outcome, topic: str) -> None:
        size = len(table.known)
        was = table.online or table.due is not None
        readings, rejected = table.bear(payload, received, MAX_KNOWN - self._known + size)
        self._known += len(table.known) - size
        table.online, table.due = True, None
        outcome.readings += readings
        outcome.rejected += [(topic, each) for each in rejected]
        if not was:
            outcome.events.append(Record("DeviceOnline", received, {"device": table.device}))

    def _die(self, key: Node, payload: Payload, now: Now, outcome: Outcome) -> None:
        node = self._nodes.get(key)
        if node is None or not node.table.online:
            return
        number = _bd_seq(payload)
        if number is not None and node.bd_seq is not None and number != node.bd_seq:
            raise Unfit("OldDeath", f"of birth {number}, while {node.bd_seq} is alive")
        self._end_waiting(key, node, now, outcome)
        for table in node.tables():
            self._lose(table, now.wall, "Death", outcome)
        self._rebirths.cancel(key)

    def _lose(self, table: Table, at: int, reason: str, outcome: Outcome) -> None:
        if table.online or table.due is not None:
            table.online, table.due = False, None
            outcome.readings += table.stale(at)
            outcome.events.append(Record("DeviceOffline", at, {"device": table.device, "reason": reason}))

    def _node(self, key: Node, now: float) -> _EdgeNode:
        node = self._nodes.get(key)
        if node is None:
            name = device_id(key.group, key.node)
            if len(self._nodes) >= MAX_NODES:
                self._make_room()
            node = self._nodes[key] = _EdgeNode(name)
        node.heard = now
        return node

    def _make_room(self) -> None:
        """Forget the edge node that is gone for longest; raises Unfit `TooMany` when all are there."""
        gone = [(node.heard, key) for key, node in self._nodes.items() if not node.table.online]
        if not gone:
            raise Unfit("TooMany", f"more than {MAX_NODES} edge nodes")
        _, key = min(gone)
        self._known -= self._nodes.pop(key).size
        self._waiting.pop(key, None)
        self._rebirths.forget(key)

    def _device(self, node: _EdgeNode, topic: Topic) -> Table:
        if len(node.devices) >= MAX_DEVICES:
            raise Unfit("TooMany", f"more than {MAX_DEVICES} devices of one edge node")
        table = node.devices[topic.device] = Table(device_id(topic.group, topic.node, topic.device))
        return table


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == BD_SEQ:
            number = value_of(INT64, metric.case, metric.raw)
            return number if type(number) is int else None
    return None
