"""Bridges that say readings: by the paths of a unified namespace, and as a Sparkplug edge node."""

import time
from pathlib import Path

import pytest

from holdfast_edge.core.sparkplug import schema
from holdfast_edge.core.sparkplug.encoding import rebirth_command
from holdfast_protocol.wire.readings import Reading
from support.bridges import bridge, hearing, remote_of, running_bridges, say
from support.clock import eventually
from support.devices import stored_readings
from support.mosquitto import Mosquitto
from support.sources import running_sources, source
from support.streams import open_outbox

pytestmark = pytest.mark.anyio


async def test_readings_go_out_by_the_path_of_a_unified_namespace_before_the_device_is_told(
    tmp_path: Path, remote: Mosquitto
) -> None:
    values = {"path": "acme/{label.area}/{site}", "label.area": "press"}
    wanted = bridge("uns", remote=remote_of(remote), preset="unified-namespace", values=values)
    async with running_bridges(tmp_path) as site, hearing(remote, "acme/#") as there:
        await site.apply(wanted)
        await site.tee.append_readings([Reading("p1", "temp", 1000, 21.5, "Cel"), Reading("p1", "a/b", 1000, True)])
        assert site.bridges.queue_path("uns").exists(), "in the queue before the append returns"
        await eventually(lambda: len(there.deliveries) == 2)
        assert there.topics == ["acme/press/site-1/p1/temp", "acme/press/site-1/p1/a/b"]
        assert there.payloads[0] == b'{"device":"p1","metric":"temp","time":1000,"value":21.5,"unit":"Cel"}'


async def test_readings_are_said_by_a_sparkplug_edge_node_that_its_host_understands(
    tmp_path: Path, remote: Mosquitto
) -> None:
    outbox = open_outbox(tmp_path / "host")
    values = {"group": "plant", "edgeNode": "{site}"}
    wanted = bridge("spb", remote=remote_of(remote), preset="sparkplug", values=values)
    host = source("host", sparkplug={"host": remote.host, "port": remote.port, "groups": ["plant"]})
    now = int(time.time() * 1000)
    async with running_sources(tmp_path / "sources", outbox) as ours, hearing(remote, "spBv1.0/plant/#") as said:
        await ours.apply(host)
        await eventually(lambda: ours.is_connected("host"))
        for turn in range(2):  # the number of a birth grows over restarts of the agent
            async with running_bridges(tmp_path / "b") as site:
                await site.apply(wanted)
                await eventually(lambda site=site: site.is_connected("spb"))
                for number in range(3):
                    reading = Reading("p1", "temp", now + 10 * turn + number, 20.0 + 10 * turn + number, "Cel")
                    await site.tee.append_readings([reading])
                await eventually(lambda site=site, turn=turn: site.way("out", "spb").sent == 3 * turn + 3)
                await eventually(lambda turn=turn: outbox.depth()["p3"].rows >= 3 * turn + 3)
                births = said.topics.count("spBv1.0/plant/NBIRTH/site-1")
                await say(remote, [rebirth_command("plant", "site-1", now)])
                await eventually(
                    lambda births=births: (
                        said.topics.count("spBv1.0/plant/NBIRTH/site-1") > births
                        and said.topics[-1] == "spBv1.0/plant/DBIRTH/site-1/p1"
                    )
                )
            await eventually(lambda turn=turn: said.topics.count("spBv1.0/plant/NDEATH/site-1") == turn + 1)
        found = {(each.device, each.metric, each.value) for each in await stored_readings(outbox)}
        assert {("plant:site-1:p1", "temp", 20.0 + number) for number in (0, 1, 2, 10, 11, 12)} <= found
    outbox.close()
    kinds = [topic.split("/")[2] for topic in said.topics if "/site-1" in topic]
    assert kinds[0] == "NBIRTH"
    numbered = {kind: [bd_seq(each.payload) for each in said.deliveries if f"/{kind}/" in each.topic] for kind in kinds}
    assert numbered["NDEATH"] == [1, 2]
    assert sorted(set(numbered["NBIRTH"])) == [1, 2]
    sequences = [schema.Payload.FromString(each.payload) for each in said.deliveries]
    assert all(each.HasField("seq") for each, topic in zip(sequences, said.topics, strict=True) if "BIRTH" in topic)


def bd_seq(payload: bytes) -> int | None:
    """Return the number of a birth or death, None in what has none."""
    metrics = [schema.Metric.FromString(each) for each in schema.Payload.FromString(payload).metrics]
    return next((int(each.long_value) for each in metrics if each.name == b"bdSeq"), None)
