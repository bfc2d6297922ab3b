"""Asking one probe's question: over the network, or by a command in the container."""

import ssl
from typing import Final

import anyio
import anyio.abc
import msgspec
from anyio.streams.tls import TLSStream

from holdfast_edge.providers.container.engine import Engine
from holdfast_protocol.errors import ProviderError, TransientError
from holdfast_protocol.kinds.pods.admission import port_number
from holdfast_protocol.kinds.pods.podspec import Container, HttpGetAction, Probe

MAX_STATUS_LINE: Final = 1_024  # bytes of an answer read at most
FIRST_POLL_S: Final = 0.02
LONGEST_POLL_S: Final = 0.25
_LOST: Final = -1  # no exit code


class Subject(msgspec.Struct, frozen=True):
    """A running container as a probe reaches it: by `address` inside, else by the host's port `bindings` name."""

    id: str
    container: Container
    address: str
    bindings: dict[str, int]


class Asker:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commands: dict[tuple[str, str], str] = {}  # started last, by container and probe

    async def failure(self, subject: Subject, kind: str, probe: Probe) -> str:
        """Ask, and return "" for a success or why it failed. Never raises but for cancellation."""
        try:
            with anyio.fail_after(probe.timeout_seconds):
                if probe.exec_:
                    return await self._exec_failure(subject.id, kind, probe.exec_.command)
                action = probe.http_get or probe.tcp_socket
                assert action is not None  # admission saw to it
                reached = _reached(subject, port_number(action.port, subject.container) or 0)
                if reached is None:
                    return "the container has no address that could be asked: give the port a hostPort, or use exec"
                async with await anyio.connect_tcp(*reached) as stream:
                    return await _http_failure(stream, probe.http_get, reached) if probe.http_get else ""
        except TimeoutError:
            return f"no answer within {probe.timeout_seconds} s"
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            return str(error) or "the connection was cut"
        except ProviderError as error:
            return error.message

    def forget(self, container: str) -> None:
        """Remember nothing of a container that is gone."""
        self._commands = {place: number for place, number in self._commands.items() if place[0] != container}

    async def _exec_failure(self, container: str, kind: str, command: list[str]) -> str:
        """No engine can stop a command that takes too long, so the next one waits for its end: they never pile up."""
        before = self._commands.get((container, kind))
        if before is not None and await self._result(before) is None:
            return "the command before it still runs"
        number = self._commands[container, kind] = await self._engine.begin_exec(container, command)
        pause = FIRST_POLL_S
        while (code := await self._result(number)) is None:
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_POLL_S)
        self._commands.pop((container, kind), None)
        if code == _LOST:
            return "the engine has lost its command"
        return f"exit code {code}" if code else ""

    async def _result(self, number: str) -> int | None:
        """Return an exit code, None while it runs. What an engine has forgotten, by a start of its own or of the
        container, runs no more."""
        try:
            return await self._engine.exec_result(number)
        except TransientError as error:
            if error.reason != "Gone":
                raise
            return _LOST


def _reached(subject: Subject, port: int) -> tuple[str, int] | None:
    if subject.address:
        return subject.address, port
    published = subject.bindings.get(f"{port}/tcp")
    return None if published is None else ("127.0.0.1", published)


async def _http_failure(stream: anyio.abc.SocketStream, action: HttpGetAction, reached: tuple[str, int]) -> str:
    channel: anyio.abc.ByteStream = stream
    if action.scheme == "HTTPS":
        channel = await TLSStream.wrap(stream, server_side=False, ssl_context=_unverified(), standard_compatible=False)
    host = f"[{reached[0]}]" if ":" in reached[0] else reached[0]
    headers = {"Host": f"{host}:{reached[1]}", "User-Agent": "holdfast-edge", "Connection": "close"}
    headers |= {header.name: header.value for header in action.http_headers}
    lines = [f"GET /{action.path.lstrip('/')} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    await channel.send(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    answer = b""
    while b"\n" not in answer and len(answer) < MAX_STATUS_LINE:
        answer += await channel.receive(MAX_STATUS_LINE)
    parts = answer.split(b"\n", 1)[0].split()
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or len(parts[1]) != 3 or not parts[1].isdigit():
        return "the answer is not HTTP"
    status = int(parts[1])
    return "" if 200 <= status < 400 else f"HTTP status {status}"


def _unverified() -> ssl.SSLContext:
    """As Kubernetes: a probe asks whether somebody answers, not who; nothing secret is sent or believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
