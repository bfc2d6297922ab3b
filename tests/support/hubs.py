"""A hub's own parts in a test: its stores, its operations, and a node that speaks to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from holdfast_hub.link.identity import Identity
from holdfast_hub.link.ingest import Ingest
from holdfast_hub.link.publisher import Publisher
from holdfast_hub.link.session import Session
from holdfast_hub.operations import apply, sites
from holdfast_hub.operations.apply import Applied
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.intake import SourceFile
from holdfast_hub.operations.sites import SiteWords
from holdfast_hub.store import sites as site_store
from holdfast_hub.store import targets
from holdfast_hub.store.feed import Feed
from holdfast_hub.store.hub import open_hub
from holdfast_hub.store.streams import StreamStore, open_streams
from holdfast_hub.store.targets import TargetRow
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState, run_link
from holdfast_protocol.runtime.mqtt import Options
from holdfast_protocol.wire import messages, topics
from holdfast_protocol.wire.envelope import Signer
from holdfast_protocol.wire.messages import Clock as NodeClock
from holdfast_protocol.wire.messages import Down, Hello, Presence, Status
from holdfast_protocol.wire.names import NodeName, SiteName, all_partitions
from holdfast_protocol.wire.target import Content, Target, open_target
from holdfast_protocol.wire.topics import Address
from support.broker import FakeBroker
from support.builders import FLEET, HUB, SITE, expected
from support.builders import NODE as NODE_KEY
from support.clock import FakeClock

NODE = NodeName("node-1")
IDENTITY = Identity(FLEET, HUB, 1, "127.0.0.1", 1883)

BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata:
  name: greeting
spec:
  schema:
    apiVersion: v1alpha1
    kind: Greeting
    spec:
      path: string | default="/etc/motd"
      text: string | default="hello"
  resources:
    - id: motd
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata:
          name: ${schema.metadata.name}
        spec:
          path: ${schema.spec.path}
          content: ${schema.spec.text}
"""


def instance(name: str = "west", zone: str = "west", kind: str = "Greeting", **values: str) -> str:
    """Return an instance placed on the sites of a zone."""
    spec = "".join(f"  {key}: {value}\n" for key, value in values.items())
    return (
        f"apiVersion: v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{spec}"
        "  placement:\n    fieldSelector:\n      matchExpressions:\n"
        f"      - {{key: zone, operator: In, values: [{zone}]}}\n"
    )


def files(*texts: str) -> list[SourceFile]:
    return [SourceFile(f"file-{number}.yaml", text) for number, text in enumerate(texts, 1)]


@contextmanager
def hub_at(folder: Path, clock: Clock | None = None) -> Iterator[Hub]:
    """Yield a hub on the databases in `folder`, not loaded yet."""
    store = open_hub(folder / "hub.db", FLEET, all_partitions())
    streams = open_streams(folder / "readings.db")
    try:
        yield Hub(store, StreamStore(streams), IDENTITY, Feed(), clock or FakeClock())
    finally:
        streams.close()
        store.close()


async def add_site(hub: Hub, name: str = SITE, zone: str = "west", **labels: str | None) -> None:
    await sites.add_site(hub, name, SiteWords(labels=labels, zones=[zone]), author="ann")


async def put(hub: Hub, *texts: str) -> Applied:
    return await apply.apply(hub, files(*texts), author="ann")


async def newest(hub: Hub, site: str = SITE) -> TargetRow | None:
    return await hub.store.read(lambda held: targets.newest(held, SiteName(site)))


async def content(hub: Hub, site: str = SITE) -> Content:
    """Return what a site was last told to be."""
    row = await newest(hub, site)
    assert row is not None
    body = await hub.store.read(lambda held: targets.body(held, row.digest))
    return msgspec.json.decode(body, type=Content)


def hello(session: str = "s1", held: TargetRow | None = None, site: str = SITE, **fields: Any) -> Hello:
    """Return the hello of a node that holds `held`."""
    values: dict[str, Any] = {
        "fleet": FLEET,
        "site": SiteName(site),
        "node": NODE,
        "boot_id": "boot-1",
        "session": session,
        "nonce": "n1",
        "clock": NodeClock(0, 0),
        "agent": "0.1.0",
        "epoch": held.epoch if held else 0,
        "generation": held.generation if held else 0,
        "digest": held.digest if held else "",
        **fields,
    }
    return Hello(**values)


def status(held: TargetRow | None = None, sequence: int = 1, site: str = SITE, **fields: Any) -> Status:
    """Return the status of a node that holds `held` and is as it says."""
    values: dict[str, Any] = {
        "fleet": FLEET,
        "site": SiteName(site),
        "node": NODE,
        "boot_id": "boot-1",
        "sequence": sequence,
        "at": 0,
        "state": "Converged" if held else "NoTarget",
        "epoch": held.epoch if held else 0,
        "generation": held.generation if held else 0,
        "digest": held.digest if held else "",
        "observed_digest": held.digest if held else "",
        **fields,
    }
    return Status(**values)


def presence(session: str, site: str = SITE, *, online: bool) -> Presence:
    return Presence(SiteName(site), NODE, online, "boot-1", session, "0.1.0")


async def give_key(hub: Hub, signer: Signer, site: str = SITE) -> None:
    """Make a node of the site known by its key."""
    await hub.store.write(lambda held: site_store.put_node(held, SiteName(site), NODE, signer.public, hub.now()))
    hub.keys.put(SiteName(site), NODE, signer.public)


class Linked:
    """A hub's link to a broker, in the background: `async with Running(linked.run)`."""

    def __init__(self, hub: Hub, broker: FakeBroker, *, rate: float = 1e6) -> None:
        self.hub = hub
        self.broker = broker
        self.publisher = Publisher(hub.store, IDENTITY, hub.feed, hub.clock, rate=rate)
        ingest = Ingest(hub.streams, hub.keys.keys_of, fleet=FLEET, clock=hub.clock)
        self.session = Session(
            hub.store, IDENTITY, hub.feed, hub.clock, hub.keys, ingest, self.publisher, self._on_facts
        )
        self.states: list[LinkState] = []

    async def _on_facts(self, names: set[SiteName]) -> None:
        await sites.refresh_facts(self.hub, names)

    async def run(self) -> None:
        await run_link(
            self.broker.dial,
            lambda: self.session.options("broker", 1883),
            self.session.serve,
            self.hub.clock,
            on_state=self.states.append,
            chance=lambda: 0.0,
        )

    @property
    def settled(self) -> int:
        """How many times a connection was settled."""
        return sum(1 for state in self.states if state.doing == "settled")

    @property
    def idle(self) -> bool:
        """Whether everything delivered to the hub was acknowledged by it (acknowledgements may be on their way)."""
        session, connection = self.broker.session(Options("hub")), self.broker._live.get("hub")
        on_their_way = set(connection._acknowledged) if connection else set()
        return not session.waiting and set(session.unacknowledged) <= on_their_way

    def targets(self, site: str = SITE) -> list[bytes]:
        """Return every target published to a site."""
        topic = topics.topic(Address("target", SiteName(site)))
        return [each.payload for each in self.broker.published if each.topic == topic]

    def held(self, site: str = SITE) -> Target | None:
        """Return the target the broker would give the site now; None when there is none."""
        data = self.broker.retained.get(topics.topic(Address("target", SiteName(site))))
        return open_target(data, expected(site=SiteName(site))) if data else None

    def downs(self, site: str = SITE) -> list[Down]:
        """Return what was said to the site's node, oldest first."""
        topic = topics.topic(Address("dn", SiteName(site), NODE))
        keys = {HUB.keyid: HUB.public}
        return [
            messages.open_message(each.payload, Down, keys) for each in self.broker.published if each.topic == topic
        ]

    def say(self, message: Hello | Status | Presence, signer: Signer = NODE_KEY) -> None:
        """Publish a message as the node it names."""
        kind = type(message).__name__.lower()
        match message:
            case Presence():
                payload = messages.encode_presence(message)
            case _:
                payload = messages.seal(message, signer)
        topic = topics.topic(Address(kind, message.site, message.node))
        self.broker.publish(topic, payload, retain=topics.TABLE[kind].retain)
