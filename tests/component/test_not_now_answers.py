"""Who is asked whether a change may be made now: a command, a socket, notes, and a disk that does not answer."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_edge.core.deferral import Ask
from holdfast_edge.reconcile import questions
from holdfast_edge.reconcile.lookout import Lookout
from holdfast_protocol.wire.names import ResourceKey
from support.clock import eventually
from support.files import script
from support.waiting import HANGS_S

pytestmark = pytest.mark.anyio


KEY = ResourceKey("File/a")


@pytest.mark.parametrize(
    ("text", "said"),
    [("exit 0", ""), ("exit 75", "says not now"), ("exit 1", "status 1"), ('[ "$HOLDFAST_RESOURCE" = File/a ]', "")],
)
async def test_a_command_answers_by_its_exit_status(tmp_path: Path, text: str, said: str) -> None:
    program = script(tmp_path / "ask", text)
    found = await questions.put(
        Ask("exec", (program,), 60.0), KEY, within=HANGS_S, commands=[program], lookout=Lookout()
    )
    assert (found == "") if said == "" else said in found


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    program = script(tmp_path / "ask", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    note = tmp_path / "child"
    for within in (0.5, 5.0, HANGS_S):  # as long as this machine takes to start it
        found = await questions.put(
            Ask("exec", (program,), 60.0), KEY, within=within, commands=[program], lookout=Lookout()
        )
        assert f"no answer within {within:g} s" in found
        if note.exists() and note.read_text().strip():
            break
    child = int(note.read_text())
    await eventually(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())


async def test_a_command_that_ends_at_the_moment_it_is_ended_is_none_that_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killpg = os.killpg

    def gone(group: int, number: int) -> None:
        killpg(group, number)
        raise ProcessLookupError

    command = script(tmp_path / "slow", "exec sleep 60")
    monkeypatch.setattr(os, "killpg", gone)
    said = await questions.put(Ask("exec", (command,), 60), KEY, within=0.2, commands=[command], lookout=Lookout())
    assert said.startswith("no answer within")


async def test_a_command_the_machine_does_not_list_is_not_started(tmp_path: Path) -> None:
    program = script(tmp_path / "ask", f"touch {tmp_path}/started")
    found = await questions.put(
        Ask("exec", (program, "; touch x"), 60.0), KEY, within=HANGS_S, commands=[], lookout=Lookout()
    )
    assert "not_now.commands" in found
    assert not (tmp_path / "started").exists()
    missing = str(tmp_path / "missing")
    assert "cannot be started" in await questions.put(
        Ask("exec", (missing,), 60.0), KEY, within=HANGS_S, commands=[missing], lookout=Lookout()
    )


def answering(path: Path, *, with_: bytes | None) -> Iterator[list[bytes]]:
    """Listen on a socket and answer every question the same way; None: never."""
    heard: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    kept = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            kept.append(connection)
            heard.append(connection.recv(1000))
            if with_ is not None:
                connection.sendall(with_)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield heard
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(HANGS_S)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"go\n", ""),
        (b"not before the shift ends\n", "not before the shift ends"),
        (b"\n", "says no"),
        (b"", "no answer of one line"),
        (b"x" * 5000, "no answer of one line"),
        (None, "no answer within"),
    ],
)
async def test_a_socket_answers_in_one_line(tmp_path: Path, answer: bytes | None, said: str) -> None:
    path = tmp_path / "s"
    listening = answering(path, with_=answer)
    heard, within = next(listening), HANGS_S if answer is not None else 1.0
    try:
        found = await questions.put(
            Ask("socket", (str(path),), 60.0), KEY, within=within, commands=[], lookout=Lookout()
        )
        await eventually(lambda: heard, "the question to be heard")
    finally:
        next(listening, None)
    assert heard == [b"may-change File/a\n"]
    assert (found == "") if said == "" else said in found


async def test_where_nobody_listens_nobody_is_disturbed(tmp_path: Path) -> None:
    assert (
        await questions.put(
            Ask("socket", (str(tmp_path / "none"),), 60.0), KEY, within=1.0, commands=[], lookout=Lookout()
        )
        == ""
    )
