"""Address: where the local page may be served (the machine itself, and nowhere else), and by which names it is asked for."""

import ipaddress
import re
from typing import Final

import msgspec

from holdfast_protocol.errors import InputError, Problem

MAX_SOCKET: Final = 100  # characters of a Unix socket's path: the kernel takes 107 bytes


class Place(msgspec.Struct, frozen=True):
    """A loopback address and port (0: a free one), or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    socket: str = ""

    def url(self, port: int) -> str:
        """Return what to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.socket}" if self.socket else f"http://{host}:{port}/"


def place(text: str) -> Place:
    """Return the place of `127.0.0.1:8470`, `[::1]:8470` or `unix:/run/holdfast/page.sock`; raises InputError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET or not path.isprintable():
            raise _refusal(f"{text[:80]!r}: the path of a Unix socket is absolute, of at most {MAX_SOCKET} bytes")
        return Place(socket=path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise _refusal(f"{text[:80]!r} is neither ADDRESS:PORT nor unix:PATH") from None
    if not address.is_loopback:
        raise _refusal(f"{host[:80]} is not the machine itself: the page is served on loopback only")
    if not (port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        raise _refusal(f"{port[:20]!r} is not a port")
    return Place(str(address), int(port))


def is_ours(host: str) -> bool:
    """Return whether a Host header names the machine itself. Any other is a name somebody else made lead here, so that a
    page of theirs may read ours."""
    name = re.sub(r":[0-9]{1,5}$", "", host) if host.count(":") == 1 or "]:" in host else host
    name = name.removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refusal(message: str) -> InputError:
    return InputError([Problem(message)])
