"""One connection of the hub to its broker: everything the sites say comes in here, in batches of what is waiting.

A batch goes through two stages, each in order: commit (`_run_intake`), then answer and acknowledge (`_run_answers`), so
that the next batch is committed while the broker still confirms the answers to the last. [inv: commit-before-ack]
What cannot be read is counted with its reason and acknowledged. [inv: one-bad-message-never-blocks-a-queue]
"""

import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from holdfast_hub.link import answers
from holdfast_hub.link.answers import Answers, Message
from holdfast_hub.link.courier import Courier, check_reply
from holdfast_hub.link.identity import Identity
from holdfast_hub.link.ingest import Ingest
from holdfast_hub.link.publisher import Publisher
from holdfast_hub.store import status, targets
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import Store
from holdfast_hub.store.keyring import KeyRing
from holdfast_protocol.errors import LinkLost, TransientError, WireError
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import settled
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Options, Subscription, Will
from holdfast_protocol.wire import messages, topics
from holdfast_protocol.wire.commands import Reply, open_reply
from holdfast_protocol.wire.messages import Down, Hello, HubState, Record, Resync, Status, StreamAck
from holdfast_protocol.wire.names import NodeName, SiteName
from holdfast_protocol.wire.topics import Address

CLIENT_ID: Final = "hub"  # no node's: those have a dot
WAITING: Final = 500  # deliveries in one batch
AHEAD: Final = 4  # batches committed and not yet answered
AT_ONCE: Final = 64  # answers awaiting their PUBACK
BUSY: Final = 5.0  # seconds to leave a full disk alone
FAREWELL: Final = 2.0  # seconds to say that the hub is going
_HUB: Final = topics.topic(Address("hub"))

Problem = tuple[Address, WireError]
Node = tuple[SiteName, NodeName]


class Batch(msgspec.Struct):
    """Deliveries committed, and what is still to be said before they are acknowledged."""

    deliveries: list[Delivery]
    downs: list[Down] = []


class Session:
    """INVARIANTS: serves one connection at a time; deliveries are acknowledged in the order they came."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        feed: Feed,
        clock: Clock,
        keys: KeyRing,
        ingest: Ingest,
        publisher: Publisher,
        on_facts: Callable[[set[SiteName]], Awaitable[None]],
    ) -> None:
        """`on_facts` is told of sites whose nodes report other facts, after the commit and before the acknowledgement."""
        self._store = store
        self._identity = identity
        self._feed = feed
        self._clock = clock
        self._keys = keys
        self._ingest = ingest
        self._publisher = publisher
        self._courier = Courier(store, identity, feed, clock)
        self._on_facts = on_facts
        self._moved: set[SiteName] = set()  # sites whose facts changed and that were not placed since
        self._session = ""

    def options(self, host: str, port: int, username: str = "", password: str = "") -> Options:
        """Return how to connect next: with a session token and a will of this attempt."""
        self._session = secrets.token_hex(8)
        will = Will(_HUB, self._sealed_state(online=False))
        return Options(CLIENT_ID, host, port, username=username, password=password, will=will)

    def _sealed_state(self, *, online: bool) -> bytes:
        state = HubState(self._identity.fleet, online, self._identity.epoch, self._now(), self._session)
        return messages.seal(state, self._identity.signer)

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)

    async def serve(self, connection: Connection, connected: Connected) -> None:
        """Serve one connection; a handler for `run_link`. Ends by LinkLost or cancellation."""
        try:
            if not connected.session_present:
                self._publisher.forget_beacons()
                await self._store.write(self._forgotten)
            await connection.subscribe(self._subscriptions())
            await connection.publish(_HUB, self._sealed_state(online=True), retain=True)
            settled()
            await self._converse(connection, connected)
        except* TransientError as found:
            await self._clock.sleep(BUSY)  # nothing of it was acknowledged: the broker gives it to us again
            raise LinkLost(f"cannot commit: {found.exceptions[0]}", reason="StoreBusy") from found
        finally:
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._say_farewell(connection)

    async def _converse(self, connection: Connection, connected: Connected) -> None:
        arrived_in, arrived = anyio.create_memory_object_stream[Delivery](WAITING)
        committed_in, committed = anyio.create_memory_object_stream[Batch](AHEAD)
        with arrived_in, arrived, committed_in, committed:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run_receive, connection, arrived_in, name="receive")
                group.start_soon(self._run_intake, arrived, committed_in, name="intake")
                group.start_soon(self._run_answers, connection, committed, name="answers")
                group.start_soon(self._publisher.run, connection, connected, name="publisher")
                group.start_soon(self._courier.run, connection, name="courier")

    def _forgotten(self, connection: sqlite3.Connection) -> None:
        """The broker holds no session of ours: what it retained may be gone as well, and deaths went unheard."""
        targets.mark_all_waiting(connection, self._store.partitions)
        status.mark_unheard(connection, self._store.partitions)

    def _subscriptions(self) -> list[Subscription]:
        """Presence is asked for once per session; nothing else is ever read from retained wildcards."""
        retained = {"presence": 1, "hello": 2, "status": 2, "up": 2, "reply": 2}
        return [
            Subscription(topics.filter_for(channel, partition), 1, handling)
            for partition in self._store.partitions
            for channel, handling in retained.items()
        ]

    async def _say_farewell(self, connection: Connection) -> None:
        try:
            await connection.publish(_HUB, self._sealed_state(online=False), retain=True)
        except LinkLost:
            return  # the broker says it for us: the will

    async def _run_receive(self, connection: Connection, arrived: MemoryObjectSendStream[Delivery]) -> None:
        while True:
            await arrived.send(await connection.receive())

    async def _run_intake(
        self, arrived: MemoryObjectReceiveStream[Delivery], committed: MemoryObjectSendStream[Batch]
    ) -> None:
        while True:
            deliveries = [await arrived.receive()]
            while len(deliveries) < WAITING:
                try:
                    deliveries.append(arrived.receive_nowait())
                except anyio.WouldBlock:
                    break
            await committed.send(await self.take(deliveries))

    async def take(self, deliveries: list[Delivery]) -> Batch:
        """Commit a batch of deliveries and return what is to be answered."""
        ups: list[tuple[Address, bytes]] = []
        found: list[Message] = []
        problems: list[Problem] = []
        for delivery in deliveries:
            try:
                address = topics.parse(delivery.topic)
            except WireError as error:
                problems.append((Address("unknown"), error))
                continue
            if address.channel == "up":
                ups.append((address, delivery.payload))
                continue
            try:
                if (message := self._read(address, delivery)) is not None:
                    found.append(message)
            except WireError as error:
                problems.append((address, error))
        acks: dict[Node, list[StreamAck]] = {}
        greeted: list[Node] = []
        if ups:
            problems += await self._take_ups(ups, acks)
        for message in found:
            if isinstance(message.body, Hello):
                at = (message.body.site, message.body.node)
                greeted.append(at)
                acks.setdefault(at, []).extend(await self._ingest.greet(*at, message.body.streams))
        said = Answers({}, set(), set())
        if found or problems:
            said = await self._store.write(self._committing(found, problems))
        self._moved |= said.facts
        if self._moved:  # kept until it is done: the hello that comes again brings no news any more
            await self._on_facts(set(self._moved))
            self._moved.clear()
        self._tell(said)
        for site, node in greeted:
            self._courier.greet(site, node)
            self._feed.tell("command", f"{site}/{node}")
        return Batch(deliveries, self._downs(acks, said.resyncs))

    def _committing(
        self, found: Sequence[Message], problems: Sequence[Problem]
    ) -> Callable[[sqlite3.Connection], Answers]:
        at = self._now()
        ours = [bool(self._keys.keys_of(address.site, address.node)) for address, _ in problems]

        def commit(connection: sqlite3.Connection) -> Answers:
            for (address, error), known in zip(problems, ours, strict=True):
                status.add_problem(
                    connection,
                    site=address.site if known else "",  # rows are bounded by what is ours
                    node=address.node if known else "",
                    channel=address.channel,
                    reason=error.reason,
                    message=error.message,
                    at=at,
                )
            return answers.take(connection, found, at)

        return commit

    def _read(self, address: Address, delivery: Delivery) -> Message | None:
        """Return a verified message; None for one that means nothing (an erased presence). Raises WireError."""
        site, node = address.site, address.node
        limit = topics.TABLE[address.channel].limit
        if len(delivery.payload) > limit:
            raise WireError(f"{len(delivery.payload)} bytes, the limit is {limit}", reason="TooLarge")
        if not (keys := self._keys.keys_of(site, node)):
            raise WireError(f"no node {site}/{node} in this fleet", reason="UnknownNode")
        if address.channel == "presence":
            if not delivery.payload:
                return None
            presence = messages.decode_presence(delivery.payload)
            if (presence.site, presence.node) != (site, node):
                raise WireError(f"speaks of {presence.site}/{presence.node}", reason="WrongSite")
            answers.check(presence)
            return Message(presence)
        if address.channel not in ("hello", "status", "reply"):
            raise WireError(f"not for the hub: {address.channel}", reason="UnknownTopic")
        message: Hello | Status | Reply
        if address.channel == "reply":
            message = open_reply(delivery.payload, keys)
            if message.id != address.id:
                raise WireError(f"speaks of {message.id[:80]!r}", reason="WrongTopic")
        elif address.channel == "hello":
            message = messages.open_message(delivery.payload, Hello, keys)
        else:
            message = messages.open_message(delivery.payload, Status, keys)
        if (message.fleet, message.site, message.node) != (self._identity.fleet, site, node):
            raise WireError(f"of {message.fleet}/{message.site}/{message.node}", reason="WrongSite")
        if isinstance(message, Reply):
            check_reply(message)
        else:
            answers.check(message)
        return Message(message, live=not delivery.retain)

    async def _take_ups(self, ups: Sequence[tuple[Address, bytes]], acks: dict[Node, list[StreamAck]]) -> list[Problem]:
        problems: list[Problem] = []
        misled: set[SiteName] = set()
        for (address, _), taken in zip(ups, await self._ingest.take(ups), strict=True):
            if taken.rejected:
                problems.append((address, WireError(taken.rejected, reason="Rejected")))
            if taken.ack is not None:
                acks.setdefault((address.site, address.node), []).append(taken.ack)
            if taken.records:
                self._feed.tell("site", address.site)
            if any(map(_tells_of_refusal, taken.records)):
                misled.add(address.site)
            if taken.readings:
                self._feed.tell("readings", address.site)
        if misled:
            now = self._now()
            again = await self._store.write(lambda held: targets.mark_lagging(held, misled, now))
            if again:
                self._feed.tell("target", "")
        return problems

    def _tell(self, said: Answers) -> None:
        for site in sorted(said.changed):
            self._feed.tell("site", site)
        if said.behind:
            self._feed.tell("target", "")

    def _downs(self, acks: dict[Node, list[StreamAck]], resyncs: dict[Node, Resync]) -> list[Down]:
        now = self._now()
        return [
            Down(
                self._identity.fleet,
                site,
                node,
                now,
                tuple(acks.get((site, node), ())),
                resyncs.get((site, node)),
            )
            for site, node in sorted({*acks, *resyncs})
        ]

    async def _run_answers(self, connection: Connection, committed: MemoryObjectReceiveStream[Batch]) -> None:
        while True:
            batch = await committed.receive()
            limiter = anyio.Semaphore(AT_ONCE)
            async with anyio.create_task_group() as group:
                for down in batch.downs:
                    await limiter.acquire()
                    group.start_soon(self._answer, connection, down, limiter)
            for delivery in batch.deliveries:
                connection.acknowledge(delivery)

    async def _answer(self, connection: Connection, down: Down, limiter: anyio.Semaphore) -> None:
        payload = messages.seal(down, self._identity.signer)
        await connection.publish(topics.topic(Address("dn", down.site, down.node)), payload)
        limiter.release()


def _tells_of_refusal(record: Record) -> bool:
    """Return whether a site was given another target than it takes: the broker may hold an old or a forged one in the
    place of ours, and no hello would show it. A site says so at most once a minute for each reason. What it took and
    rejects with a generation is ours: saying it again would change nothing."""
    body = record.body
    return record.kind == "TargetReport" and body.get("outcome") == "rejected" and not body.get("generation")
