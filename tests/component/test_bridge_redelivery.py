"""A bridge between brokers that reorder, duplicate, drop and forget."""

from pathlib import Path

import anyio
import pytest

from holdfast_protocol.bridging.standing import BridgeState
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.relay.opening import bounds_of, plan_of
from holdfast_protocol.relay.queue import open_queue
from holdfast_protocol.relay.run import Relay
from holdfast_protocol.runtime.mqtt import Connection, Options
from support.broker import FakeBroker
from support.clock import Running, eventually
from support.sources import Hasty

pytestmark = pytest.mark.anyio
PLACE = Place("site-1", "node-1", "near", 1883)


@pytest.mark.invariant("commit-before-ack")
@pytest.mark.parametrize("seed", range(3))
async def test_what_a_broker_delivers_again_within_a_session_goes_over_once_and_nothing_is_missing(
    tmp_path: Path, seed: int
) -> None:
    near, far = FakeBroker(seed, duplicate=0.4, drop=0.01), FakeBroker(seed, duplicate=0.0, drop=0.01)
    spec = {"remote": {"host": "far"}, "out": [{"topic": "devices/#"}], "window": 7}
    want = bridge.wanted(spec, "cloud", PLACE)
    queue = await anyio.to_thread.run_sync(open_queue, tmp_path / "q.db", bounds_of(want), Hasty())
    relay = Relay(plan_of(want, "cloud", PLACE, {}), queue, BridgeState("cloud"), Hasty())

    def dial(options: Options) -> Connection:
        return (near if options.host == "near" else far).dial(options)

    said = [(f"devices/{number % 5}", b"%d" % number) for number in range(300)]
    async with Running(lambda: relay.run(dial)):
        await eventually(lambda: bool(near.subscribed("holdfast-site-1.node-1-bridge-cloud-local")))
        for topic, payload in said:
            near.publish(topic, payload)
        stands = relay.state.stands
        await eventually(lambda: stands["out"].sent >= 300 and not stands["out"].waiting)
    assert stands["out"].received == stands["out"].sent == 300, "each once in the queue, whatever came again"
    there = [(each.topic, each.payload) for each in far.published]
    assert set(there) == set(said), "each at least once on the other side"
    assert {each.client_id for each in far.published} == {"holdfast-site-1.node-1-bridge-cloud"}
    queue.close()
