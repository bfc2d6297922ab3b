"""Sites that are plain processes of this machine, each with its own `/srv`, broker and line to the hub."""

import json
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio.from_thread import BlockingPortal, start_blocking_portal

from demo.commands import EDGE
from demo.sites import MOSQUITTO, REPOSITORY, Place, Site
from holdfast_protocol.runtime.broker import configuration
from support import plain, proxy
from support.plain import LACKS, PlainSite
from support.proxy import Proxy


@dataclass(frozen=True)
class LighterSite:
    plain: PlainSite
    line: Proxy
    portal: BlockingPortal
    broker_port: int
    lacks: Sequence[str] = LACKS
    kinds: frozenset[str] = frozenset({"File"})

    @property
    def name(self) -> str:
        return self.plain.name

    def prepare(self) -> None:
        """Start the site's broker."""
        folder = self.plain.folder / "broker"
        folder.mkdir(mode=0o700)
        config = self.plain.folder / "site.conf"
        text = configuration("site.conf", listen="127.0.0.1", port=self.broker_port, folder=folder, user="root")
        config.write_text(text)  # root of the namespace: us
        self.plain.start_program("broker", [MOSQUITTO, "-c", str(config)])

    @property
    def kit_options(self) -> Sequence[str]:
        own = ["--broker", f"127.0.0.1:{self.line.port}", "--state-dir", str(self.plain.folder / "state")]
        return ["--file-root", "/srv", "--devices", f"127.0.0.1:{self.broker_port}", *own]

    def join(self, kit_folder: Path) -> None:
        self.plain.start_program("agent", [EDGE, "run", "--config", str(kit_folder / "edge.toml")])

    def start_devices(self, devices: Sequence[str], every_ms: float) -> None:
        names = [word for device in devices for word in ("--device", device)]
        program = [sys.executable, str(REPOSITORY / "demo/device.py"), "--port", str(self.broker_port)]
        program += ["--every-ms", str(every_ms), "--sent", str(self.plain.folder / "sent.json"), *names]
        self.plain.start_program("devices", program)

    def stop_devices(self) -> dict[str, int]:
        self.plain.stop_program("devices")
        sent: dict[str, int] = json.loads((self.plain.folder / "sent.json").read_text())
        return sent

    def containers(self) -> list[str]:
        return []

    def remove_container(self, container: str) -> None:
        raise LookupError(f"{self.name} has no container {container}")

    def unit_active(self, unit: str) -> bool:
        return False

    def stop_unit(self, unit: str) -> None:
        raise LookupError(f"{self.name} has no {unit}")

    def read(self, path: str) -> str:
        return self.plain.read(path)

    def exists(self, path: str) -> bool:
        return self.plain.exists(path)

    def write(self, path: str, content: str) -> None:
        self.plain.write(path, content)

    def cut(self) -> None:
        self.portal.call(self.line.cut)

    def restore(self) -> None:
        self.portal.call(self.line.restore)

    def agent_log(self) -> str:
        return self.plain.log("agent", 30)

    def way_in(self) -> str:
        return f"{' '.join(self.plain.enter)} bash"


class LighterGround:
    hub_address = "127.0.0.1"

    def __init__(self, folder: Path, why: str, stack: ExitStack) -> None:
        self.words = f"lighter sites, plain processes on this machine, because {why}"
        self.hub_port = free_port()
        self._folder = folder
        self._stack = stack

    def boot(self, places: Sequence[Place]) -> list[Site]:
        portal = self._stack.enter_context(start_blocking_portal())
        sites: list[Site] = []
        for place in places:
            line = self._stack.enter_context(
                portal.wrap_async_context_manager(proxy.running("127.0.0.1", self.hub_port))
            )
            folder = self._folder / place.name
            made = LighterSite(self._stack.enter_context(plain.site(place.name, folder)), line, portal, free_port())
            made.prepare()
            sites.append(made)
        return sites


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def lighter_ground(folder: Path, why: str) -> Iterator[LighterGround]:
    with ExitStack() as stack:
        yield LighterGround(folder, why, stack)
