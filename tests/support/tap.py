"""A stranger at a broker: listens, publishes, and asks what is retained, through the product's own driver."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
from anyio.abc import TaskStatus
from anyio.from_thread import start_blocking_portal

from holdfast_protocol.errors import LinkLost
from holdfast_protocol.runtime.mqtt import Connection, Delivery, Options, Subscription
from holdfast_protocol.runtime.paho import dial


def _options(port: int) -> Options:
    return Options(f"tap-{secrets.token_hex(4)}", port=port, clean_start=True, session_expiry=0)


def publish(port: int, topic: str, *payloads: bytes, retain: bool = False) -> None:
    """Publish at QoS 1, in order; return once the broker has all."""

    async def run() -> None:
        connection = dial(_options(port))
        await connection.connect()
        for payload in payloads:
            await connection.publish(topic, payload, retain=retain)
        await connection.close()

    anyio.run(run)


def retained(port: int, topic: str) -> bytes:
    """Return what the broker retains on a topic, b"" for nothing."""

    async def run() -> bytes:
        connection, mark = dial(_options(port)), f"tap/{secrets.token_hex(4)}"
        await connection.connect()
        await connection.subscribe([Subscription(mark), Subscription(topic)])
        await connection.publish(mark, b"after what is retained")
        found = b""
        while (delivery := await connection.receive()).topic != mark:
            found = delivery.payload if delivery.retain else found
        await connection.close()
        return found

    return anyio.run(run)


@contextmanager
def listening(port: int, *filters: str) -> Iterator[list[Delivery]]:
    """Yield a list that grows with what is published below the filters from now on."""
    heard: list[Delivery] = []

    async def listen(connection: Connection, *, task_status: TaskStatus[None]) -> None:
        with suppress(LinkLost):
            await connection.connect()
            await connection.subscribe([Subscription(each, retained=2) for each in filters])
            task_status.started()
            while True:
                heard.append(delivery := await connection.receive())
                connection.acknowledge(delivery)

    async def run(*, task_status: TaskStatus[None]) -> None:
        connection = dial(_options(port))
        try:
            await listen(connection, task_status=task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()

    with start_blocking_portal() as portal:
        task, _ = portal.start_task(run)
        try:
            yield heard
        finally:
            task.cancel()
