"""What the machine refuses is told in words."""

import errno
import os
import socket

import pytest

from holdfast_protocol.runtime.refusals import refusal_text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "nothing listens there"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] again"), "nothing listens there"),
        (OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)), "no way to it"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "broken off"),
        (socket.gaierror(-2, "Name or service not known"), "no machine of this name"),
        (TimeoutError(), "does not answer"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/run/secret"), "No such file or directory"),
        (OSError("[Errno 5] odd"), "odd"),
        (ValueError("not a port"), "not a port"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_refusal_is_told_without_numbers(error: Exception, said: str) -> None:
    text = refusal_text(error)
    assert said in text
    assert "Errno" not in text
    assert text.isprintable()
