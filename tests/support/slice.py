"""One whole slice of the system, of real processes: hub, broker, agent with two managed files, the site's broker, devices."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast_protocol.wire import topics
from holdfast_protocol.wire.names import NodeName, SiteName
from holdfast_protocol.wire.topics import Address
from support import mosquitto, publisher
from support.fleet import Agent, Hub, Program, ended
from support.mosquitto import Mosquitto
from support.waiting import HANGS_S, until

SITE = SiteName("press-01")
NODE = NodeName("node-1")
KEPT = "this file is never touched again\n"
RESOURCES = ("File/kept", "File/said")

_BLUEPRINT = f"""\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {{name: pair}}
spec:
  schema:
    apiVersion: v1alpha1
    kind: Pair
    spec:
      folder: string | required=true
      word: string | required=true
  resources:
    - id: kept
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {{name: kept}}
        spec: {{path: "${{schema.spec.folder}}/kept", content: {json.dumps(KEPT)}}}
    - id: said
      template:
        apiVersion: holdfast.io/v1alpha1
        kind: File
        metadata: {{name: said}}
        spec: {{path: "${{schema.spec.folder}}/said", content: "${{schema.spec.word}}"}}
"""


class Device(Program):
    """A device that publishes 1, 2, 3 … to the site's broker and remembers every number acknowledged to it."""

    def __init__(self, name: str, port: int, folder: Path, per_second: float) -> None:
        self.name = name
        self.file = folder / f"sent-{name}"
        words = [sys.executable, publisher.__file__, "127.0.0.1", str(port), name, self.file, str(per_second)]
        super().__init__(words, folder / f"{name}.log")

    @property
    def sent(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()] if self.file.exists() else []

    def send(self, count: int) -> None:
        """Publish until so many more numbers are acknowledged, then end in order."""
        wanted = len(self.sent) + count
        self.start()
        until(lambda: len(self.sent) >= wanted, HANGS_S, f"{self.name} to publish {count} numbers")
        assert self.stop() == 0


@dataclass
class Slice:
    folder: Path
    broker: Mosquitto
    hub: Hub
    agent: Agent
    devices_at: Mosquitto | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def kept(self) -> Path:
        return self.agent.root / "kept"

    @property
    def said(self) -> Path:
        return self.agent.root / "said"

    @property
    def target_topic(self) -> str:
        return topics.topic(Address("target", SITE))

    def node_topic(self, channel: str, stream: str = "") -> str:
        return topics.topic(Address(channel, SITE, NODE, stream=stream))

    def apply(self, word: str) -> int:
        """Have the site's second file say `word`; return the generation that says so."""
        text = (
            "apiVersion: holdfast.io/v1alpha1\nkind: Pair\nmetadata: {name: pair}\nspec:\n"
            f"  folder: {self.agent.root}\n  word: {word}\n  placement: {{labelSelector: {{}}}}\n"
        )
        done = self.hub.call("apply", "-f", "-", given=text)
        assert done.status == 0, done.err
        return int(self.hub.site(SITE)["generation"])

    def converged(self, word: str, within: float = HANGS_S) -> None:
        """Return once the hub knows that the site is as `word` wants it."""

        def there() -> bool:
            return self.said.exists() and self.said.read_text() == word and self.state() == "Converged"

        until(there, within, f"the site to say {word!r} and the hub to know it")

    def state(self) -> str:
        return str(self.hub.site(SITE)["state"])

    def identity(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when a managed file is removed, replaced or written, however shortly."""
        return tuple((found.st_ino, found.st_ctime_ns) for found in (self.kept.stat(), self.said.stat()))

    def status(self) -> dict[str, Any]:
        """Return the status the agent gives at the site; {} while it does not answer."""
        return self.agent.status()

    def problems(self) -> str:
        """Return the problems the agent tells at the site, one a line."""
        return "\n".join(self.status().get("status", {}).get("problems", ()))

    def refusals(self) -> set[str]:
        """Return the reasons for which targets were refused, as the hub tells them."""
        return {each["reason"] for each in self.hub.site(SITE)["reports"] if each["outcome"] == "rejected"}

    def device(self, name: str = "scale", per_second: float = 200) -> Device:
        """Return a new device of the site, ended with the slice."""
        assert self.devices_at is not None
        device = Device(name, self.devices_at.port, self.folder, per_second)
        self._stack.enter_context(ended(device))
        return device

    def stored(self) -> Counter[tuple[str, int]]:
        """Return how often the hub has each number of each device."""
        return Counter((item["device"], int(item["value"])) for item in self.readings())

    def readings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.hub.api.get("/v1/readings", site=SITE, limit=100_000)["items"]
        return found

    def ledger(self, stream: str = "") -> list[dict[str, Any]]:
        """Return the accounts of the site's streams, or of those of one class."""
        streams = self.hub.api.get(f"/v1/ledger/{SITE}")["streams"]
        return [each for each in streams if stream in ("", each["stream"])]

    def is_settled(self) -> bool:
        """Return whether the hub says of every stream that nothing is missing."""
        streams = self.ledger()
        return bool(streams) and all(each["exact"] and each["pending"] == 0 for each in streams)

    def arrived(self, *devices: Device, within: float = HANGS_S) -> None:
        """Return once the hub has what the devices sent, each number once, and nothing is under way."""
        wanted = Counter((device.name, number) for device in devices for number in device.sent)
        assert wanted, "the devices sent nothing"
        until(lambda: self.stored().total() >= wanted.total(), within, "every reading at the hub", every=0.2)
        assert self.stored() == wanted
        until(self.is_settled, within, "an exact ledger with nothing pending", every=0.2)


def started(hub: Hub, folder: Path, devices_at: Mosquitto | None) -> Agent:
    """Return the slice's agent, not running yet, after telling the hub of its blueprint and site."""
    agent = Agent(hub, folder / "site", SITE, devices=devices_at.port if devices_at else 0)
    done = hub.call("apply", "-f", "-", given=_BLUEPRINT)
    assert done.status == 0, done.err
    return agent


@contextmanager
def running(folder: Path, *, devices: bool = False, online: bool = True) -> Iterator[Slice]:
    """Yield a slice in which everything runs and the site has converged on `one`; `online` false: the agent not started,
    nothing applied."""
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto.running("hub.conf"))
        devices_at = stack.enter_context(mosquitto.running("site.conf")) if devices else None
        hub = Hub(folder / "hub", broker=f"mqtt://127.0.0.1:{broker.port}")
        stack.enter_context(ended(hub))
        hub.start()
        hub.ready()
        agent = started(hub, folder, devices_at)
        stack.enter_context(ended(agent))
        made = Slice(folder, broker, hub, agent, devices_at, stack)
        if online:
            agent.start()
            made.apply("one")
            made.converged("one")
        yield made
