"""A real RabbitMQ of its own folder, cookie, name and port mapper, on the loopback; it is gone afterwards."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel

from support.certificates import Authority
from support.mosquitto import free_port
from support.waiting import HANGS_S, until

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
Publish = Callable[..., Awaitable[None]]


class RabbitMQ:
    """The same folder and ports over its restarts. The user is guest, with the password guest."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self.authority = Authority()
        self.folder = folder
        self._mapper_port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        pair = self.authority.pair("127.0.0.1")
        for name, text in (("ca", self.authority.cert), ("cert", pair.cert), ("key", pair.key)):
            (folder / name).write_text(text)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlisteners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {folder}/ca\nssl_options.certfile = {folder}/cert\n"
            f"ssl_options.keyfile = {folder}/key\nssl_options.verify = verify_none\n"
            "log.file = false\nlog.console = true\nlog.console.level = warning\n"
            "disk_free_limit.absolute = 10MB\nvm_memory_high_watermark.absolute = 512MB\n"
            "tcp_listen_options.exit_on_close = false\n"
        )
        (folder / "plugins").write_text("[rabbitmq_amqp1_0].\n")
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
        }

    def start(self) -> None:
        """Start and return once it takes connections."""
        self._run("epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1")
        until(lambda: _listens(self._mapper_port), HANGS_S, "the port mapper", every=0.01)
        server = self._run(SERVER)

        def answers() -> bool:
            if server.poll() is not None:
                raise RuntimeError(f"RabbitMQ ended: {(self.folder / 'log').read_text()[-3000:]}")
            return _listens(self.port)

        until(answers, HANGS_S, "RabbitMQ to take connections", every=0.05)

    def kill(self) -> None:
        """SIGKILL to all of it: what is not on disk is gone."""
        while self._processes:
            process = self._processes.pop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(HANGS_S)
        until(lambda: not _listens(self.port), HANGS_S, "RabbitMQ to be gone", every=0.01)

    def _run(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def running() -> Iterator[RabbitMQ]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-rabbitmq-"))
    broker = RabbitMQ(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def channel(port: int) -> AsyncIterator[AbstractChannel]:
    """Yield a channel of a connection to the broker."""
    async with await aio_pika.connect(port=port, host="127.0.0.1", login="guest", password="guest") as connection:
        yield await connection.channel()


@contextlib.asynccontextmanager
async def device(port: int, key: str) -> AsyncIterator[Publish]:
    """Yield how to publish one number to the topic exchange and wait until the broker has confirmed it."""
    async with channel(port) as it:
        exchange = await it.get_exchange("amq.topic")

        async def publish(number: int, *, ident: bool = True, body: bytes = b"") -> None:
            message = aio_pika.Message(
                body or b"%d" % number,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=str(number) if ident else None,
            )
            await exchange.publish(message, key)

        yield publish


async def waiting(port: int, queue: str) -> int:
    """Return how many messages the broker still has, delivered and not settled ones too: nobody may consume."""
    async with channel(port) as it:
        declared = await it.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0
