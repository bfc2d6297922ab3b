"""Talking to the supervisor."""

import socket
from pathlib import Path

import pytest

from holdfast_edge.notify import notify


def test_a_supervisor_that_is_gone_for_a_moment_takes_nobody_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    notify("WATCHDOG=1")  # not there
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        notify("WATCHDOG=1")
        assert supervisor.recv(100) == b"WATCHDOG=1"
        supervisor.setblocking(False)
        for _ in range(10_000):  # it does not read any more: nobody waits for it
            notify("WATCHDOG=1")
    notify("WATCHDOG=1")  # there, and nobody behind it
