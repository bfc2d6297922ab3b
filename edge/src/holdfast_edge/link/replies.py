"""What became of orders, to the hub: said until the hub's broker has it, and again whenever the hub asks again."""

import anyio

from holdfast_edge.link.identity import Identity
from holdfast_edge.store.orders import Orders
from holdfast_protocol.errors import WireError
from holdfast_protocol.runtime.mqtt import Connection
from holdfast_protocol.wire import topics
from holdfast_protocol.wire.commands import Command, Reply, open_command, seal_reply
from holdfast_protocol.wire.topics import Address


def read_command(payload: bytes, address: Address, identity: Identity, keys: dict[str, bytes]) -> Command:
    """Return a command for this node. Raises WireError."""
    command = open_command(payload, keys)
    if (command.fleet, command.site, command.node) != (identity.fleet, identity.site, identity.node):
        raise WireError(f"meant for {command.fleet}/{command.site}/{command.node}", reason="WrongSite")
    if command.id != address.id:
        raise WireError("on the topic of another command", reason="WrongTopic")
    return command


async def run_replies(connection: Connection, orders: Orders, identity: Identity) -> None:
    """Tell the hub outcomes while a connection lasts."""
    me = (identity.fleet, identity.site, identity.node)
    while True:
        changed = orders.changed
        for order in await orders.unreplied():
            outcome = order.outcome or "failed"
            await _say(connection, identity, Reply(*me, order.id, outcome, order.reason, order.answer, order.at))
            await orders.replied(order.id)
        for wanted in await orders.desired(unreplied=True):
            await _say(connection, identity, Reply(*me, wanted.id, "delivered"))
            await orders.replied_desired(wanted)
        with anyio.move_on_after(60):  # what did not fit into one page, or was changed between the two looks
            await changed.wait()


async def _say(connection: Connection, identity: Identity, reply: Reply) -> None:
    topic = topics.topic(Address("reply", identity.site, identity.node, id=reply.id))
    await connection.publish(topic, seal_reply(reply, identity.signer))
