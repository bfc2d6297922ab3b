"""Settings of one hub, checked before anything is started."""

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from holdfast_protocol.errors import InputError, Problem, WireError
from holdfast_protocol.wire.names import fleet_name

PORT: Final = 1883


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


LISTEN: Final = Address("127.0.0.1", PORT)


class Settings(msgspec.Struct, frozen=True):
    """`broker` is an existing one; without it the hub runs its own, listening on `listen`.

    `advertise` is what site kits name, for sites that reach the broker by another address; `http` is an additional
    listener for the API on loopback; `telemetry` is where the hub's own metrics go by OTLP, "" nowhere.
    """

    data_dir: Path
    fleet: str = "fleet"
    socket: Path = Path("/run/holdfast/hub.sock")
    broker: Address | None = None
    username: str = ""
    password: str = ""
    listen: Address = LISTEN
    advertise: Address | None = None
    http: Address | None = None
    telemetry: str = ""
    rate: float = 500.0  # publications a second, once a burst is used up

    def check(self) -> None:
        """Raise InputError with everything wrong."""
        problems = []
        try:
            fleet_name(self.fleet)
        except WireError as error:
            problems.append(Problem(error.message, path="fleet"))
        if self.http is not None and self.http.host not in ("127.0.0.1", "::1", "localhost"):
            problems.append(
                Problem(f"{self.http.host} is not loopback: the API has no access control yet", path="http")
            )
        if len(os.fsencode(self.socket)) > 100:
            problems.append(Problem("the path of a Unix socket has at most 100 bytes", path="socket"))
        if self.telemetry and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", self.telemetry):
            text, hint = "must be an http or https URL without credentials", "http://127.0.0.1:4318"
            problems.append(Problem(text, path="telemetry", hint=hint))
        if self.rate <= 0:
            problems.append(Problem("must be more than 0", path="rate"))
        if problems:
            raise InputError(problems)

    @property
    def reached(self) -> Address:
        """Where sites reach the broker."""
        return self.advertise or self.broker or self.listen


def address(text: str, path: str = "address") -> Address:
    """Return HOST:PORT, [IPV6]:PORT, or mqtt://HOST[:PORT] as an address. Raises InputError naming `path`."""
    rest = text.removeprefix("mqtt://").rstrip("/")
    host, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    if not colon:
        host, port = rest, str(PORT)
    host = host.removeprefix("[").removesuffix("]")
    if "://" in rest or not host or not host.isprintable() or not port.isascii() or not port.isdigit():
        raise InputError([Problem(f"{text[:200]!r} is not HOST:PORT", path=path, hint="for example 127.0.0.1:1883")])
    if not 0 < int(port[:6]) < 65536:
        raise InputError([Problem(f"{port[:20]} is not a port", path=path)])
    return Address(host, int(port))


def default_socket() -> Path:
    """Return where a hub of this user listens: the system's run folder for root, the user's otherwise."""
    if named := os.environ.get("HOLDFAST_SOCKET"):
        return Path(named)
    folder = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return Path(folder or "/run") / "holdfast" / "hub.sock"
