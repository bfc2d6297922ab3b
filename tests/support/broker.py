"""A broker in memory that does everything a real one may do to us, on purpose and by a seed.

It reorders across topics and keeps the order within one, delivers QoS 1 twice, drops connections before and after it
took a message, loses acknowledgements with a connection, ignores the receive maximum, discards what is larger than
a client takes without a word, drops the newest message of a full queue, hands a session to whoever claims its name,
and on demand forgets everything or remembers something old.
"""

import copy
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from holdfast_protocol.errors import LinkLost, MisuseError
from holdfast_protocol.runtime.mqtt import LARGEST, Connected, Connection, Delivery, Options, Subscription


class Published(msgspec.Struct, frozen=True):
    """One message the broker took. `client_id` is "" for one given by `FakeBroker.publish`."""

    client_id: str
    topic: str
    payload: bytes
    retain: bool


class Session:
    """What the broker keeps for one client id."""

    def __init__(self) -> None:
        self.filters: dict[str, Subscription] = {}
        self.queues: dict[str, deque[Delivery]] = {}  # by topic, each in order
        self.unacknowledged: dict[int, Delivery] = {}  # in the order of delivery
        self.last_mid = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self.queues.values()))

    def mid(self) -> int:
        self.last_mid = self.last_mid % 65_535 + 1
        return self.last_mid

    def resume(self) -> None:
        """Put what was delivered and not acknowledged back, in front and in order."""
        for mid, delivery in reversed(self.unacknowledged.items()):
            queue = self.queues.setdefault(delivery.topic, deque())
            while queue and queue[0].mid == mid:  # a duplicate of the same
                queue.popleft()
            queue.appendleft(msgspec.structs.replace(delivery, duplicate=True))
        self.unacknowledged.clear()


class State:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, bytes] = {}


class FakeBroker:
    """`duplicate` and `drop` are chances per delivery and per step; with both 0 it is only unordered across topics."""

    def __init__(
        self,
        seed: int = 0,
        *,
        duplicate: float = 0.2,
        drop: float = 0.02,
        queue_limit: int = 100_000,
        max_packet: int = LARGEST,
    ) -> None:
        self.published: list[Published] = []
        self.refused: dict[str, str] = {}  # client id: why it may not connect
        self.busy = False  # acknowledgements are read late: when something is asked, or never
        self._chance = random.Random(seed)
        self._duplicate = duplicate
        self._drop = drop
        self._queue_limit = queue_limit
        self._max_packet = max_packet
        self._state = State()
        self._live: dict[str, FakeConnection] = {}
        self._cut = False

    @property
    def retained(self) -> dict[str, bytes]:
        return dict(self._state.retained)

    @property
    def clients(self) -> set[str]:
        """Who is connected now."""
        return set(self._live)

    def waiting(self, client_id: str) -> int:
        """Return how many deliveries wait for a client or for its acknowledgement."""
        session = self._state.sessions.get(client_id, Session())
        return session.waiting + len(session.unacknowledged)

    def unacknowledged(self, client_id: str) -> int:
        """Return how many deliveries a client has and has not acknowledged."""
        return len(self._state.sessions.get(client_id, Session()).unacknowledged)

    def subscribed(self, client_id: str) -> set[str]:
        """Return the filters of a client that is connected."""
        return set(self._state.sessions[client_id].filters) if client_id in self._live else set()

    def dial(self, options: Options) -> Connection:
        return FakeConnection(self, options)

    # what a test does to it

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish as somebody whose own connection is no matter here."""
        self.take("", topic, payload, retain)

    def drop(self, *client_ids: str) -> None:
        """Lose the connections of these clients, of all when none is named; their wills are published."""
        for client_id in client_ids or tuple(self._live):
            if client_id in self._live:
                self._live[client_id].lose("the broker dropped the connection", "Lost")

    def cut(self) -> None:
        """Lose every connection and take no new one until `heal`."""
        self._cut = True
        self.drop()

    def heal(self) -> None:
        self._cut = False

    def doubt(self, client_id: str) -> None:
        """Call everything that waits for a client a possible duplicate, as a broker does that is not sure."""
        for queue in self._state.sessions[client_id].queues.values():
            for place, delivery in enumerate(queue):
                queue[place] = msgspec.structs.replace(delivery, duplicate=True)

    def forget(self) -> None:
        """Lose sessions, queues and retained messages, as a broker with an empty store does."""
        self.restore(State())

    def snapshot(self) -> State:
        return copy.deepcopy(self._state)

    def restore(self, state: State) -> None:
        """Come back with an old state; every connection is lost."""
        self.drop()
        self._state = copy.deepcopy(state)

    # what connections ask of it

    def roll(self, chance: float) -> bool:
        return self._chance.random() < chance

    @property
    def drops(self) -> bool:
        return self.roll(self._drop)

    def enter(self, connection: "FakeConnection") -> bool:
        """Connect; return whether there was a session."""
        options = connection.options
        if self._cut:
            raise LinkLost("nobody listens", reason="Unreachable")
        if options.client_id in self.refused:
            raise LinkLost(f"refused: {self.refused[options.client_id]}", reason="Refused")
        if options.client_id in self._live:
            # The standard has the will published, Mosquitto 2.0 does not.
            self._live[options.client_id].lose("taken over by another client", "TakenOver", will=self.roll(0.5))
        if options.clean_start:
            self._state.sessions.pop(options.client_id, None)
        present = options.client_id in self._state.sessions
        self._live[options.client_id] = connection
        self.session(options).resume()
        return present

    def leave(self, connection: "FakeConnection", *, will: bool) -> None:
        options = connection.options
        if self._live.get(options.client_id) is connection:
            del self._live[options.client_id]
            if options.session_expiry == 0 or (options.version == 4 and options.clean_start):
                self._state.sessions.pop(options.client_id, None)
            if will and options.will is not None:
                self.take(options.client_id, options.will.topic, options.will.payload, options.will.retain)

    def session(self, options: Options) -> Session:
        return self._state.sessions.setdefault(options.client_id, Session())

    def take(self, client_id: str, topic: str, payload: bytes, retain: bool) -> int:
        """Return 0, or 16 when nobody subscribed."""
        self.published.append(Published(client_id, topic, payload, retain))
        if retain:
            self._state.retained[topic] = payload
            if not payload:
                del self._state.retained[topic]
        heard = False
        for name, session in self._state.sessions.items():
            found = [each for pattern, each in session.filters.items() if matches(pattern, topic)]
            if found:
                heard = True
                self._queue(name, session, topic, payload, max(each.qos for each in found), retain=False)
        return 0 if heard else 16

    def give_retained(self, options: Options, subscription: Subscription, *, new: bool) -> None:
        handling = subscription.retained if options.version == 5 else 0
        if handling == 0 or (handling == 1 and new):
            session = self.session(options)
            for topic, payload in self._state.retained.items():
                if matches(subscription.filter, topic):
                    self._queue(options.client_id, session, topic, payload, subscription.qos, retain=True)

    def _queue(self, name: str, session: Session, topic: str, payload: bytes, qos: int, *, retain: bool) -> None:
        connection = self._live.get(name)
        if connection is None and (qos == 0 or session.waiting >= self._queue_limit):
            return
        if connection is not None and len(payload) + len(topic) > connection.options.max_packet:
            return
        mid = session.mid() if qos else 0
        session.queues.setdefault(topic, deque()).append(Delivery(topic, payload, qos, retain, False, mid))
        if connection is not None:
            connection.wake()

    def next_delivery(self, options: Options) -> Delivery | None:
        session = self.session(options)
        topics = [topic for topic, queue in session.queues.items() if queue]
        if not topics:
            session.queues.clear()
            return None
        queue = session.queues[self._chance.choice(topics)]
        delivery = queue.popleft()
        if delivery.qos:
            if not delivery.duplicate or delivery.mid not in session.unacknowledged:
                session.unacknowledged[delivery.mid] = delivery
            if self.roll(self._duplicate):
                queue.appendleft(msgspec.structs.replace(delivery, duplicate=True))
        return delivery

    def settle(self, options: Options, mids: list[int], *, lost: bool) -> None:
        """Take acknowledgements; of those on their way when a connection is lost only the first few arrive."""
        session = self.session(options)
        arrived = self._chance.randint(0, 0 if self.busy else len(mids)) if lost else len(mids)
        for mid in mids[:arrived]:
            session.unacknowledged.pop(mid, None)

    async def dawdle(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            await checkpoint()


class FakeConnection:
    """The port of mqtt.py on a FakeBroker."""

    def __init__(self, broker: FakeBroker, options: Options) -> None:
        self.options = options
        self._broker = broker
        self._connected = False
        self._lost: tuple[str, str] | None = None
        self._acknowledged: list[int] = []  # on their way
        self._woken = anyio.Event()

    async def connect(self) -> Connected:
        if self._connected or self._lost is not None:
            raise MisuseError("a connection is connected once")
        await checkpoint()
        if self._broker.drops:
            self._lost = ("nobody listens", "Unreachable")
            self._check()
        present = self._broker.enter(self)
        self._connected = True
        return Connected(present, 65_535, self._broker._max_packet)

    async def subscribe(self, subscriptions: Sequence[Subscription], *, beside: bool = False) -> None:
        await self._step()
        filters = self._broker.session(self.options).filters
        for each in subscriptions:
            new = each.filter not in filters
            filters[each.filter] = each
            self._broker.give_retained(self.options, each, new=new)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
    ) -> int:
        if len(topic) + len(payload) + 16 > self._broker._max_packet:
            raise MisuseError(
                f"{topic}: {len(payload)} bytes, the broker takes {self._broker._max_packet}", reason="TooLarge"
            )
        self._check()  # nothing is awaited before it is taken: messages go in the order of the calls
        self._break_perhaps()
        code = self._broker.take(self.options.client_id, topic, payload, retain)
        await self._step()
        return code if qos else 0

    async def receive(self) -> Delivery:
        await self._step()
        while True:
            self._check()
            delivery = self._broker.next_delivery(self.options)
            if delivery is not None:
                return delivery
            if self._woken.is_set():
                self._woken = anyio.Event()
            await self._woken.wait()

    async def receive_all(self, most: int, within: float, size: int = LARGEST) -> list[Delivery]:
        found = [await self.receive()]
        while len(found) < most and size == LARGEST:
            delivery = self._broker.next_delivery(self.options)
            if delivery is None:
                break
            found.append(delivery)
        with suppress(LinkLost):  # the next call says so
            self._break_perhaps()
        return found

    def acknowledge(self, *deliveries: Delivery) -> None:
        self._check()
        for delivery in deliveries:
            if delivery.qos:
                self._acknowledged.append(delivery.mid)
                if not self._broker.busy and self._broker.roll(0.5):
                    self._flush(lost=False)

    async def round_trip(self, *, beside: bool = False) -> None:
        await self._step()
        self._flush(lost=False)

    async def leave(self) -> bool:
        await self._step()
        await self.close()
        return True

    async def close(self) -> None:
        if self._connected and self._lost is None:
            self._flush(lost=False)
            self._broker.leave(self, will=False)
        self._lost = self._lost or ("the connection was closed here", "Closed")
        self.wake()

    def lose(self, message: str, reason: str, *, will: bool = True) -> None:
        if self._lost is None:
            self._lost = (message, reason)
            self._flush(lost=True)
            self._broker.leave(self, will=will)
            self.wake()

    def wake(self) -> None:
        self._woken.set()

    def _check(self) -> None:
        if self._lost is not None:
            raise LinkLost(self._lost[0], reason=self._lost[1])
        if not self._connected:
            raise MisuseError("not connected")

    async def _step(self) -> None:
        self._check()
        await self._broker.dawdle()
        self._check()
        self._break_perhaps()
        if not self._broker.busy:
            self._flush(lost=False)

    def _break_perhaps(self) -> None:
        if self._broker.drops:
            self.lose("the connection broke", "Lost")
            self._check()

    def _flush(self, *, lost: bool) -> None:
        self._broker.settle(self.options, self._acknowledged, lost=lost)
        self._acknowledged = []


def matches(pattern: str, topic: str) -> bool:
    """Return whether a subscription filter covers a topic."""
    levels, wanted = topic.split("/"), pattern.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)
