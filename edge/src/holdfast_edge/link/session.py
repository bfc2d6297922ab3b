"""Session: one connection to the hub's broker, from subscribing to being lost.

Every connect is treated as if the broker had forgotten everything: subscribe again and ask for what is retained, say
who we are, send hello, then receive and send until the link is lost. Whatever the hub does or does not answer changes
nothing at the site. [inv: hub-silence-changes-nothing]
"""

import contextlib
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from holdfast_edge.link.beacons import Beacons
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.link.meter import Meter
from holdfast_edge.link.replies import read_command, run_replies
from holdfast_edge.link.sender import run_sender
from holdfast_edge.store.board import Board
from holdfast_edge.store.contact import Contact
from holdfast_edge.store.floor import FloorClock
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.targets import Targets, Trust
from holdfast_protocol.errors import LinkLost, TransientError, WireError
from holdfast_protocol.runtime import link
from holdfast_protocol.runtime.mqtt import Connected, Connection, Delivery, Options, Subscription, Will
from holdfast_protocol.wire import messages, strict, target, topics
from holdfast_protocol.wire.envelope import open_sealed
from holdfast_protocol.wire.messages import Down, Hello, HubState, Presence, Resync
from holdfast_protocol.wire.topics import Address

SUBSCRIBED: Final = ("target", "beacon", "dn", "hub")
NEEDED: Final = max(channel.limit for channel in topics.TABLE.values() if channel.publisher == "node") + 1024
HELLO_EVERY: Final = 900.0  # seconds
ASKED_EVERY: Final = 2.0  # seconds at least between two hellos that somebody waits for
STATUS_EVERY: Final = 0.05  # seconds at least between two statuses; the newest goes
FAREWELL: Final = 1.0  # seconds to say that we leave in order
REST: Final = 5.0  # seconds after the disk refused, when it does not say
SPREAD: Final = 5.0  # seconds over which a fleet greets a hub that came back


class Session:
    """`run` is the handler of `runtime.link`; `options` is asked before every connect."""

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        broker: Options,
        targets: Targets,
        board: Board,
        outbox: Outbox,
        inbox: Inbox,
        beacons: Beacons,
        clock: FloorClock,
        *,
        boot_id: str,
        agent: str,
        facts: Callable[[], Mapping[str, str]],
        wake: Callable[[], None],
        jitter: Callable[[], float],
        meter: Meter | None = None,
        contact: Contact | None = None,
        orders: Orders | None = None,
    ) -> None:
        """`broker` says where; `agent` is our version; `facts` reads them, in a thread; `jitter` returns a random number in
        0..1."""
        self._identity = identity
        self._trust = trust
        self._broker = broker
        self._targets = targets
        self._board = board
        self._outbox = outbox
        self._inbox = inbox
        self._beacons = beacons
        self._clock = clock
        self._boot_id = boot_id
        self._agent = agent
        self._facts = facts
        self._wake = wake
        self._jitter = jitter
        self._meter = meter
        self._orders = orders
        self._contact = contact or Contact()
        self._token = ""
        self._nonces: tuple[str, ...] = ()
        self._hub = ""
        self._greeting = False  # a hello for a hub that came is on its way

    def options(self) -> Options:
        """Return how to connect, with a fresh session token in the will."""
        self._token = secrets.token_hex(8)
        return msgspec.structs.replace(
            self._broker,
            client_id=topics.client_id(self._identity.site, self._identity.node),
            will=Will(self._topic("presence"), messages.encode_presence(self._presence(online=False))),
        )

    async def run(self, connection: Connection, connected: Connected) -> None:
        """Use a connection until it is lost; raises LinkLost, maybe in a group."""
        if connected.max_packet < NEEDED:
            text = f"the broker takes {connected.max_packet} bytes a message, {NEEDED} are needed"
            raise LinkLost(text, reason="Refused")
        self._nonces, self._hub, self._greeting = (), "", False
        self._contact.lost()
        wanted = [Subscription(self._topic(channel), retained=0) for channel in SUBSCRIBED]
        if self._orders is not None:
            wanted.append(Subscription(topics.filter_of("cmd", self._identity.site, self._identity.node), retained=2))
        await connection.subscribe(wanted)  # in one request: a round trip less at every connection
        try:
            await self._converse(connection, connected)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(FAREWELL, shield=True), contextlib.suppress(LinkLost):
                farewell = messages.encode_presence(self._presence(online=False))
                await connection.publish(self._topic("presence"), farewell, retain=True)
            raise
        finally:
            self._contact.lost()

    async def _converse(self, connection: Connection, connected: Connected) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_receiver, connection, group)
            birth = messages.encode_presence(self._presence(online=True))
            await connection.publish(self._topic("presence"), birth, retain=True)
            group.start_soon(self._run_hello, connection)
            group.start_soon(self._run_asked, connection)
            group.start_soon(self._run_status, connection)
            if self._orders is not None:
                group.start_soon(run_replies, connection, self._orders, self._identity)
            group.start_soon(run_sender, connection, self._outbox, self._identity, self._meter)

    async def _run_receiver(self, connection: Connection, group: anyio.abc.TaskGroup) -> None:
        while True:
            delivery = await connection.receive()
            try:
                await self._take(delivery, connection, group)
            except WireError as error:  # taken as refused: kept it would come again for ever
                self._note("broker", f"{delivery.topic[:100]}: {error.reason}: {error.message[:200]}")
            except TransientError as error:  # not stored, so not acknowledged: it comes again on the next connection
                await self._clock.sleep(error.after or REST)  # and meanwhile the hub is told what is wrong here
                raise LinkLost(f"cannot store what arrives: {error.message}", reason="NotStored") from error
            connection.acknowledge(delivery)

    async def _take(self, delivery: Delivery, connection: Connection, group: anyio.abc.TaskGroup) -> None:
        match topics.parse(delivery.topic).channel:
            case "target":
                held = self._targets.current
                await self._inbox.take(delivery.payload)
                self._look_for_announced()
                if self._targets.current is not held:  # whoever had to decide has
                    self._note("hub", "")
                    self._clock.saw(self._targets.current.issued_at if self._targets.current else 0)
            case "cmd" if self._orders is not None:
                command = read_command(
                    delivery.payload, topics.parse(delivery.topic), self._identity, dict(self._trust.keys)
                )
                await self._orders.take(command, int(self._clock.wall() * 1000))
            case "dn":
                await self._take_down(messages.open_message(delivery.payload, Down, self._trust.keys))
            case "beacon" if delivery.payload:
                self._take_beacon(delivery.payload)
            case "hub" if delivery.payload:
                hub = messages.open_message(delivery.payload, HubState, self._trust.keys)
                self._clock.saw(hub.time)
                if self._is_new(hub, live=not delivery.retain) and not self._greeting:
                    self._greeting = True
                    group.start_soon(self._greet, connection)

    async def _take_down(self, down: Down) -> None:
        me = self._identity
        if (down.fleet, down.site, down.node) != (me.fleet, me.site, me.node):
            raise WireError(f"meant for {down.fleet}/{down.site}/{down.node}", reason="WrongSite")
        self._clock.saw(down.time)
        for ack in down.acks:
            await self._outbox.acknowledge(ack)
        # A queued answer to a hello of an earlier connection says nothing about this one.
        if down.resync is not None and down.resync.nonce in self._nonces:
            self._note("hub", self._disagreement(down.resync))
            self._outbox.hear()
            self._contact.heard(self._clock.boottime())
            link.settled()

    def _disagreement(self, resync: Resync) -> str:
        """Return what a person should know of the hub's view; being behind the hub is no news, the target is coming."""
        held = self._targets.current
        if held is None:
            return ""
        theirs = (resync.epoch, resync.generation)
        if resync.conflict or theirs < held.position:
            return f"the hub holds {theirs} and this site {held.position}: somebody must decide at the hub"
        if theirs == held.position and resync.digest != held.digest:
            return f"the hub and this site hold different targets as {held.position}"
        return ""

    def _take_beacon(self, payload: bytes) -> None:
        limit = topics.TABLE["beacon"].limit
        beacon = strict.decode(
            open_sealed(payload, target.BEACON, self._trust.keys, limit=limit), target.Beacon, limit=limit
        )
        if (beacon.fleet, beacon.site) != (self._identity.fleet, self._identity.site):
            raise WireError(f"meant for {beacon.fleet}/{beacon.site}", reason="WrongSite")
        self._beacons.take(beacon)
        self._note("freshness", self._beacons.problem)
        self._look_for_announced()

    def _look_for_announced(self) -> None:
        held, newest = self._targets.current, self._beacons.announced
        behind = newest > (held.position if held else (0, 0))
        self._note("beacon", f"target {newest} was announced and has not arrived" if behind else "")

    def _is_new(self, hub: HubState, *, live: bool) -> bool:
        """Return whether a hub came, or came back, while we were connected: our hello may have met nobody."""
        if hub.fleet != self._identity.fleet:
            raise WireError(f"a hub of {hub.fleet}", reason="WrongFleet")
        before, self._hub = self._hub, hub.session
        return hub.online and hub.session != before and (live or before != "")

    async def _greet(self, connection: Connection) -> None:
        await self._clock.sleep(SPREAD * self._jitter())
        self._greeting = False
        await self._hello(connection)

    async def _run_hello(self, connection: Connection) -> None:
        while True:
            await self._hello(connection)
            await self._clock.sleep(HELLO_EVERY * (0.9 + 0.2 * self._jitter()))

    async def _run_asked(self, connection: Connection) -> None:
        while True:
            await self._contact.asked()
            await self._hello(connection)
            await self._clock.sleep(ASKED_EVERY)

    async def _hello(self, connection: Connection) -> None:
        nonce = secrets.token_hex(16)
        self._nonces = (*self._nonces[-3:], nonce)
        held = self._targets.current
        hello = Hello(
            fleet=self._identity.fleet,
            site=self._identity.site,
            node=self._identity.node,
            boot_id=self._boot_id,
            session=self._token,
            nonce=nonce,
            clock=messages.Clock(
                int(self._clock.wall() * 1000), int(self._clock.boottime() * 1000), self._clock.quality()
            ),
            agent=self._agent,
            epoch=held.epoch if held else 0,
            generation=held.generation if held else 0,
            digest=held.digest if held else "",
            streams=dict(self._outbox.states()),
            features=tuple(sorted(target.FEATURES)),
            facts=dict(await anyio.to_thread.run_sync(self._facts)),
        )
        await connection.publish(self._topic("hello"), messages.seal(hello, self._identity.signer))

    async def _run_status(self, connection: Connection) -> None:
        status = None
        while True:
            status = await self._board.newer(status)
            sealed = messages.seal(status, self._identity.signer)
            await connection.publish(self._topic("status"), sealed, retain=True)
            await self._clock.sleep(STATUS_EVERY)

    def _presence(self, *, online: bool) -> Presence:
        return Presence(
            site=self._identity.site,
            node=self._identity.node,
            online=online,
            boot_id=self._boot_id,
            session=self._token,
            agent=self._agent,
        )

    def _topic(self, channel: str) -> str:
        return topics.topic(Address(channel, self._identity.site, self._identity.node))

    def _note(self, who: str, problem: str) -> None:
        if self._board.note(who, problem):
            self._wake()
