"""The commands' client of a hub: how long it listens, and what becomes of a hub that goes."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast_hub.cli.client import Client
from holdfast_hub.cli.exits import UNREACHABLE, CliError

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PING = b"8\r\n: ping\n\n\r\n"


@contextlib.contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[Client]:
    """A hub that takes one connection and answers it so."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            answer(connection)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield Client(str(path))
        thread.join()


def test_a_hub_that_is_never_silent_is_listened_to_until_the_deadline_only(tmp_path: Path) -> None:
    def ping_on(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:  # until nobody reads any more
            connection.sendall(PING)

    with answering(tmp_path / "sock", ping_on) as client:
        deadline = time.monotonic() + 0.2
        assert all(event == {} for event in client.events(deadline))
        assert time.monotonic() >= deadline


@pytest.mark.parametrize("said", [b"", HEAD, HEAD + PING, HEAD + PING + b"8\r\n: pi"])
def test_a_hub_that_goes_ends_the_stream_and_is_named_when_it_is_asked_again(tmp_path: Path, said: bytes) -> None:
    path = tmp_path / "sock"
    with answering(path, lambda connection: connection.sendall(said)) as client:
        assert all(event == {} for event in client.events(time.monotonic() + 60))
    with pytest.raises(CliError, match="no hub answers") as caught:
        client.get("/v1/sites")
    assert caught.value.code == UNREACHABLE
