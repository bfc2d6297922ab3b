"""A Sparkplug edge node of ours: readings as its devices' births and data, for a bridge to somebody's host application.

Pure: it says what to publish, in order, and is told what the host commands. The broker gets `death` as the will.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_edge.core.sparkplug import encoding
from holdfast_edge.core.sparkplug.names import Kind, Topic, level_of, topic_of
from holdfast_edge.core.sparkplug.payload import MAX_METRICS, opened
from holdfast_edge.core.sparkplug.sequence import MODULUS
from holdfast_edge.core.sparkplug.tables import BD_SEQ
from holdfast_protocol.mapping.values import Unfit
from holdfast_protocol.wire.readings import Reading

MAX_POINTS: Final = 50_000  # series that a node of ours has
AT_ONCE: Final = 1_000  # metrics of one message of data
MOST: Final = 64 * 1024  # bytes of them, or one


class Message(msgspec.Struct, frozen=True):
    """What to publish, at this QoS and not retained."""

    topic: str
    payload: bytes
    qos: int = 0


class _Point(msgspec.Struct):
    alias: int
    last: Reading


class EdgeNode:
    """Say `connect` before each connection: deaths are told from births by its number, 0 to 255.

    INVARIANT: every device in `_born` has had its birth with every point of it, since the last birth of the node.
    """

    def __init__(self, group: str, node: str, bd_seq: int = 0) -> None:
        self.bd_seq = bd_seq % MODULUS
        self._group, self._node = level_of(group), level_of(node)
        self._devices: dict[str, dict[str, _Point]] = {}
        self._born: set[str] = set()
        self._points = 0
        self._sequence = 0

    @property
    def commands(self) -> str:
        """The topic to subscribe to, at QoS 1."""
        return self._topic("NCMD")

    def connect(self) -> None:
        self.bd_seq = (self.bd_seq + 1) % MODULUS
        self._born.clear()

    def death(self, time: int) -> Message:
        """Return the will of a connection, to be published too before an orderly end. `time` in milliseconds since 1970."""
        return Message(self._topic("NDEATH"), encoding.payload(time, [self._bd_seq(time)], None), 1)

    def birth(self, time: int) -> list[Message]:
        """Return the births of the node and of all its devices, with their last values."""
        self._sequence = 0
        controls = [encoding.metric(False, time, name=encoding.REBIRTH)]
        found = [self._message("NBIRTH", "", time, [self._bd_seq(time), *controls])]
        self._born = set(self._devices)
        return found + [self._device_birth(device, time) for device in self._devices]

    def beyond(self, readings: Sequence[Reading]) -> list[bool]:
        """Return, for each, whether it is of a series more than there may be: `data` is not for those."""
        new: dict[str, set[str]] = {}
        total, found = self._points, []
        for reading in readings:
            points, mine = self._devices.get(reading.device, {}), new.setdefault(reading.device, set())
            is_known = reading.metric in points or reading.metric in mine
            has_room = total < MAX_POINTS and len(points) + len(mine) < MAX_METRICS
            if not is_known and has_room:
                mine.add(reading.metric)
                total += 1
            found.append(not is_known and not has_room)
        return found

    def data(self, readings: Sequence[Reading], time: int, *, historical: bool = False) -> list[Message]:
        """Return what says `readings`, in their order for each device: a birth where a metric is new or of another type.

        `historical`: they were taken while nobody listened; those times are over.
        """
        found: list[Message] = []
        for device, mine in self._by_device(readings).items():
            new = [reading for reading in mine if self._learn(device, reading)]
            born = bool(new) or device not in self._born
            if born:
                self._born.add(device)
                found.append(self._device_birth(device, time))
                mine = [each for each in mine if each != self._devices[device][each.metric].last]  # the birth has those
            metrics = [self._datum(device, each, historical or born) for each in mine]
            found += [self._message("DDATA", device, time, part) for part in _parts(metrics)]
        return found

    def lose(self, device: str, time: int) -> list[Message]:
        """Return the death of a device; its next reading is a birth again."""
        if device not in self._born:
            return []
        self._born.discard(device)
        return [self._message("DDEATH", device, time, [])]

    def asks_for_birth(self, topic: str, payload: bytes) -> bool:
        """Return whether a message is a host's request for `birth`. Whatever the bytes, it never raises."""
        try:
            if topic_of(topic) != Topic(self._group, "NCMD", self._node):
                return False
            return any(each.name == encoding.REBIRTH and each.raw is True for each in opened(payload).metrics)
        except Unfit:
            return False

    def _by_device(self, readings: Sequence[Reading]) -> dict[str, list[Reading]]:
        found: dict[str, list[Reading]] = {}
        for reading in readings:
            found.setdefault(reading.device, []).append(reading)
        return found

    def _learn(self, device: str, reading: Reading) -> bool:
        """Keep the last value; return whether the device's birth is to say something it has not."""
        points = self._devices.setdefault(device, {})
        point = points.get(reading.metric)
        if point is None:
            self._points += 1
            points[reading.metric] = _Point(self._points, reading)
            return True
        before = point.last
        changed = type(before.value) is not type(reading.value) or before.unit != reading.unit
        if changed or reading.time >= before.time:
            point.last = reading
        return changed

    def _datum(self, device: str, reading: Reading, historical: bool) -> bytes:
        alias = self._devices[device][reading.metric].alias
        return encoding.metric(reading.value, reading.time, alias=alias, quality=reading.quality, historical=historical)

    def _device_birth(self, device: str, time: int) -> Message:
        metrics = [
            encoding.metric(
                point.last.value,
                point.last.time,
                name=metric,
                alias=point.alias,
                unit=point.last.unit,
                quality=point.last.quality,
            )
            for metric, point in self._devices[device].items()
        ]
        return self._message("DBIRTH", device, time, metrics)

    def _message(self, kind: Kind, device: str, time: int, metrics: list[bytes]) -> Message:
        message = Message(self._topic(kind, device), encoding.payload(time, metrics, self._sequence))
        self._sequence = (self._sequence + 1) % MODULUS
        return message

    def _topic(self, kind: Kind, device: str = "") -> str:
        return str(Topic(self._group, kind, self._node, level_of(device)))

    def _bd_seq(self, time: int) -> bytes:
        return encoding.metric(self.bd_seq, time, name=BD_SEQ)


def _parts(metrics: list[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = []
    size = 0
    for each in metrics:
        if not parts or len(parts[-1]) == AT_ONCE or size + len(each) > MOST:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += len(each)
    return parts
