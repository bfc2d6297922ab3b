"""What the machine or the network refused, in words a person can act on: no numbers, no names of classes."""

import errno
import re
import socket
from typing import Final

_AWAY: Final = "there is no way to it (is the network up?)"
_BROKEN: Final = "the connection was broken off from there"
_SILENT: Final = "does not answer (is it running, and does no firewall stand before it?)"
_SAID: Final = {
    errno.ECONNREFUSED: "nothing listens there (is it running, and is this its address?)",
    errno.EHOSTUNREACH: _AWAY,
    errno.ENETUNREACH: _AWAY,
    errno.ETIMEDOUT: _SILENT,
    errno.ECONNRESET: _BROKEN,
    errno.EPIPE: _BROKEN,
}


def refusal_text(error: BaseException) -> str:
    """Return what an error of the machine means, and what to look at."""
    text = " ".join(str(error).split())
    for number, said in _SAID.items():
        if getattr(error, "errno", None) == number or f"[Errno {number}]" in text:  # of several addresses tried
            return said
    if isinstance(error, socket.gaierror):
        return "no machine of this name is known (is it spelt right, and does the name server answer?)"
    if isinstance(error, TimeoutError):
        return text or _SILENT
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return re.sub(r"\[Errno -?[0-9]+\] ?", "", text) or type(error).__name__
