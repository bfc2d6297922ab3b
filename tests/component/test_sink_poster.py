"""A destination that answers, but never to the end."""

import socket
import threading
from collections.abc import Iterator

import anyio
import pytest

from holdfast_hub.sinks.poster import Poster
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import SystemClock
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def endless() -> Iterator[str]:
    """The URL of a server that says a little of its answer again and again, and never all of it."""
    over = threading.Event()

    def answer(taken: socket.socket) -> None:
        with taken:
            taken.sendall(b"HTTP/1.1 200 OK\r\nx-more: ")
            while not over.wait(0.02):
                taken.sendall(b".")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=lambda: answer(listening.accept()[0]))
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        over.set()
        serving.join(HANGS_S)


async def test_an_answer_that_never_ends_is_given_up_in_time(endless: str) -> None:
    poster = Poster(None, 0.2, SystemClock())
    with anyio.fail_after(HANGS_S), pytest.raises(TransientError) as found:
        await poster.post(endless, b"{}", {})
    assert found.value.reason == "Unreachable"
