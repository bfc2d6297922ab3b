"""Bridges the hub runs: messages of its own broker and stored readings out, a remote's messages in, and how they do."""

import errno
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from holdfast_hub.operations import apply, bridges
from holdfast_hub.operations.bridges import HubBridges
from holdfast_hub.operations.hub import Hub
from holdfast_hub.operations.places import is_place, place_of
from holdfast_hub.operations.sinks import Sinks
from holdfast_hub.store import sinks as places
from holdfast_hub.store import status as statuses
from holdfast_protocol.errors import InputError, NotFoundError
from holdfast_protocol.runtime import paho
from holdfast_protocol.runtime.clock import SystemClock
from holdfast_protocol.wire.messages import BridgeStatus, BridgeWay
from holdfast_protocol.wire.readings import Reading
from support import mosquitto
from support.bridges import hearing, say
from support.builders import NODE as NODE_KEY
from support.builders import SITE
from support.clock import Running, eventually
from support.device_data import Sender
from support.hubs import add_site, content, give_key, hub_at, presence, put, status
from support.mosquitto import Mosquitto

pytestmark = pytest.mark.anyio
START = 1_700_000_000_000


class Soon(SystemClock):
    """Looks again at once, and reconnects so."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.05))


def document(port: int, rules: str, name: str = "lake", more: str = "") -> str:
    return (
        f"apiVersion: holdfast.io/v1alpha1\nkind: Bridge\nmetadata: {{name: {name}}}\nspec:\n"
        f"  run: hub\n  remote: {{host: 127.0.0.1, port: {port}}}\n{rules}{more}"
    )


@asynccontextmanager
async def bridging(folder: Path, own: Mosquitto, *documents: str) -> AsyncIterator[Hub]:
    """Yield a hub with a broker of its own whose bridges run."""
    with hub_at(folder, Soon()) as hub:
        await hub.load()
        if not hub.fleet.sites:
            await add_site(hub, area="press")
            await add_site(hub, "east-1", "east")
        if documents:
            await put(hub, *documents)
        async with anyio.create_task_group() as group:
            group.start_soon(HubBridges(hub, paho.dial, folder / "bridges", own.host, own.port).run)
            group.start_soon(Sinks(hub).run)
            yield hub
            group.cancel_scope.cancel()


async def test_the_hub_hands_stored_readings_over_and_passes_messages_both_ways(tmp_path: Path) -> None:
    rules = (
        "  out:\n  - {source: readings, to: 'acme/{site}/{label.area}/{device}/{metric}', form: value}\n"
        "  - {topic: news/#, prefix: hub/}\n  in:\n  - {topic: orders/#}\n"
    )
    with mosquitto.running() as own, mosquitto.running() as far:
        async with hearing(far, "acme/#", "hub/#") as there, hearing(own, "orders/#") as here:
            async with bridging(tmp_path, own, document(far.port, rules)) as hub:
                await eventually(lambda: hub.bridges["lake"].is_connected if "lake" in hub.bridges else False)
                await say(own, [("news/a", b"n")])
                await say(far, [("orders/a", b"o")])
                Sender(hub).send(Reading("p1", "temp", START, 21.5), Reading("p1", "temp", START + 1, 22.0))
                await eventually(lambda: len(there.deliveries) == 3 and len(here.deliveries) == 1)
                (view,) = await bridges.show_bridge(hub, "hub/lake")
                assert view.connected
                assert view.ways["out"]["received"] == 3
            async with bridging(tmp_path, own) as hub:  # it goes on where it was
                Sender(hub, "east-1").send(Reading("p2", "temp", START, 1))
                await eventually(lambda: len(there.deliveries) == 4)
                names = await hub.streams.database.call(_places, hub)
                assert names == {place_of("lake")}, "the sinks leave a bridge's place alone"
                await apply.delete_object(hub, "Bridge", "lake", author="ann")
                await eventually(lambda: not hub.bridges and not list((tmp_path / "bridges").iterdir()))
        assert sorted(there.topics) == [
            "acme/east-1/_/p2/temp",
            "acme/press-01/press/p1/temp",
            "acme/press-01/press/p1/temp",
            "hub/news/a",
        ]
        assert sorted(there.payloads) == [b"1", b"21.5", b"22.0", b"n"]


def _places(hub: Hub) -> set[str]:
    with hub.streams.database.reading() as connection:
        return {name for name in places.names(connection) if is_place(name)}


class Kept:
    """What a bridge would hand over."""

    def __init__(self) -> None:
        self.sites: list[str] = []

    async def put_about(self, readings: Sequence[tuple[Reading, Mapping[str, str]]]) -> None:
        self.sites += [about["site"] for _, about in readings]


@pytest.mark.invariant("every-loss-is-counted")
async def test_readings_of_a_site_that_came_to_a_bridge_wait_until_it_starts_anew(tmp_path: Path) -> None:
    with hub_at(tmp_path, Soon()) as hub:
        await hub.load()
        await add_site(hub)
        await put(hub, document(9, "  out:\n  - {source: readings, to: 'a/{site}', form: value}\n"))
        made, kept = HubBridges(hub, paho.dial, tmp_path / "bridges", "127.0.0.1", 9), Kept()
        (before,) = await made._known()
        await add_site(hub, "east-1", "east")
        Sender(hub, "east-1").send(Reading("p1", "temp", START, 21.5))
        (after,) = await made._known()
        with anyio.move_on_after(0.3):
            await made._feed(before, kept, True)  # type: ignore[arg-type]
        assert kept.sites == []
        async with Running(lambda: made._feed(after, kept, True)):  # type: ignore[arg-type]
            await eventually(lambda: kept.sites == ["east-1"])


async def test_what_is_no_queue_stays_among_the_queues_and_ends_no_loop(tmp_path: Path) -> None:
    folder = tmp_path / "bridges"
    (folder / "lost+found").mkdir(parents=True)
    for name in ("gone.db", "gone.db-wal", "lake.db", "notes"):
        (folder / name).touch()
    with hub_at(tmp_path) as hub:
        HubBridges(hub, paho.dial, folder, "127.0.0.1", 9)._clear({"lake"})
    assert {path.name for path in folder.iterdir()} == {"lake.db", "notes", "lost+found"}


async def test_a_queue_the_disk_does_not_let_go_of_ends_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone.db").touch()

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "it does not")

    with hub_at(tmp_path) as hub:
        bridges = HubBridges(hub, paho.dial, tmp_path, "127.0.0.1", 9)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuses)
            bridges._clear(set())
        assert (tmp_path / "gone.db").exists()


async def test_a_bridge_of_the_hub_is_refused_with_its_places_and_warned_of(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await hub.load()
        bad = document(1, "  broker: aws-iot-core\n  out:\n  - {topic: a/b/c/d/e/f/g/h/i}\n")
        with pytest.raises(InputError) as refused:
            await put(hub, bad)
        found = {problem.path: problem for problem in refused.value.problems}
        assert {"spec.out[0].topic", "spec.out[0].maxPayload", "spec.remote.tls"} <= set(found)
        assert found["spec.out[0].topic"].line == 9
        assert "at most 7 slashes" in found["spec.out[0].topic"].message
        with pytest.raises(InputError, match="say nothing of the sites"):
            await put(hub, bad.replace("  run: hub\n", ""))
        fine = "  broker: aws-iot-core\n  out:\n  - {topic: a/b, maxPayload: 1000}\n".replace("  broker", "  broker")
        text = document(1, fine).replace("port: 1}", "port: 1, tls: {}}")
        done = await put(hub, text)
        assert [problem.path for problem in done.warnings] == ["spec.out"]


BLUEPRINT = """\
apiVersion: holdfast.io/v1alpha1
kind: Blueprint
metadata: {name: cloud}
spec:
  schema: {apiVersion: v1alpha1, kind: Cloud, spec: {topic: string}}
  resources:
  - id: bridge
    template:
      apiVersion: holdfast.io/v1alpha1
      kind: Bridge
      metadata: {name: cloud}
      spec:
        broker: azure-event-grid
        remote: {host: grid.example, tls: {}}
        values: {path: 'acme/{label.area}'}
        out:
        - {topic: "${schema.spec.topic}", maxPayload: 1000, retain: clear, to: 'acme/{label.area}/{site}'}
"""


def instance(topic: str) -> str:
    return (
        "apiVersion: v1alpha1\nkind: Cloud\nmetadata: {name: west}\n"
        f"spec:\n  topic: {topic}\n  placement: {{labelSelector: {{}}}}\n"
    )


async def test_a_bridge_in_a_blueprint_is_checked_at_submit_and_gets_its_sites_labels(tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await hub.load()
        await add_site(hub, area="press")
        await add_site(hub, "east-1", "east")
        done = await put(hub, BLUEPRINT, instance("plant/a"))
        assert any("1000 messages a second" in problem.message for problem in done.warnings)
        (here,), (there,) = [(await content(hub, site)).resources for site in (SITE, "east-1")]
        assert here.spec["values"]["label.area"] == "press"
        assert there.spec["values"]["label.area"] == "_"
        assert here.digest != there.digest
        with pytest.raises(InputError, match="is neither text"):
            await put(hub, instance("'plant/#/a'"))


async def test_what_sites_say_of_their_bridges_is_shown(tmp_path: Path) -> None:
    way = BridgeWay(received=10, sent=7, waiting=2, bytes=200, lag=5, per_s=1.5, dropped={"Overflow": 1})
    said = (BridgeStatus("cloud", connected=False, since=5, reason="Refused", problem="no", ways={"out": way}),)
    with hub_at(tmp_path) as hub:
        await hub.load()
        await add_site(hub)
        await give_key(hub, NODE_KEY)
        await hub.store.write(lambda held: statuses.take_presence(held, presence("s1", online=True)))
        await hub.store.write(lambda held: statuses.take_status(held, status(bridges=said), 2, live=True))
        (view,) = await bridges.show_bridge(hub, f"{SITE}/cloud")
        assert (view.node, view.reason, view.ways["out"]["dropped"]) == ("node-1", "Refused", {"Overflow": 1})
        with pytest.raises(NotFoundError, match="no bridge"):
            await bridges.show_bridge(hub, f"{SITE}/other")


async def test_a_bridge_that_is_deleted_and_made_again_before_anybody_looks_begins_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looking(Soon):
        """Looks for changes when it may."""

        may = anyio.Event()

        async def sleep(self, seconds: float) -> None:
            await (self.may.wait() if seconds == bridges.LOOK else super().sleep(seconds))

    def received(hub: Hub) -> int:
        return hub.bridges["lake"].stands["out"].received if "lake" in hub.bridges else -1

    wanted = document(1, "  out: [{source: readings, to: 'acme/{device}/{metric}'}]\n")  # nobody is there
    monkeypatch.setattr(sys.modules[__name__], "Soon", Looking)
    with mosquitto.running() as own:
        async with bridging(tmp_path, own, wanted) as hub:
            sender = Sender(hub)
            sender.send(Reading("p1", "temp", START, 21.5), Reading("p1", "temp", START + 1, 22.0))
            await eventually(lambda: received(hub) == 2)
            await apply.delete_object(hub, "Bridge", "lake", author="ann")
            await put(hub, wanted)
            Looking.may.set()
            sender.send(Reading("p1", "temp", START + 2, 23.0))
            await eventually(lambda: received(hub) == 1)
            assert hub.bridges["lake"].stands["out"].waiting == 1
