"""What carries orders beside what takes readings: one source, two connections, so that neither costs the other anything."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import msgspec

from holdfast_edge.core.sources import SourceState
from holdfast_edge.ingest.attempts import is_serious
from holdfast_edge.ingest.giving import Way
from holdfast_edge.ingest.orders import MAX_PACKET, QUEUE, run_way
from holdfast_edge.store.orders import Orders
from holdfast_protocol.kinds.inputs import Mqtt
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Dial, Options

Runner = Callable[[], Coroutine[Any, Any, None]]


def beside(taking: Runner, giving: Runner) -> Runner:
    """Return what runs both until one fails or they are cancelled."""
    return partial(_run_both, taking, giving)


async def _run_both(taking: Runner, giving: Runner) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(taking)
        group.start_soon(giving)


def noted(state: SourceState) -> Callable[[LinkState], None]:
    """Return what notes how the connection for orders does."""

    def take(link: LinkState) -> None:
        if link.doing == "settled":
            state.orders = ""
        elif link.doing == "waiting" and is_serious(link):
            state.orders = link.reason or "Lost"

    return take


def mqtt_giving(
    dial: Dial, options: Options, orders: Orders, clock: Clock, source: str, given: Mqtt, state: SourceState
) -> Runner:
    """Return what gives orders by the broker that `options` lead to."""
    commands, desired = given.commands, given.desired
    mine = msgspec.structs.replace(
        options, client_id=f"{options.client_id}-orders", max_packet=MAX_PACKET, queue=QUEUE, receive_maximum=QUEUE
    )
    way = Way(
        commands.topic if commands is not None else "",
        commands.answer if commands is not None else "",
        desired.topic if desired is not None else "",
    )
    qos = (commands.qos if commands is not None else 1, desired.qos if desired is not None else 1)
    return partial(run_way, dial, lambda: mine, orders, clock, source, way, qos=qos, on_state=noted(state))
