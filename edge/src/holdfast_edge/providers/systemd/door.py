"""A door to a D-Bus daemon as a port, whichever library carries it; and what a service's refusal means for us."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from holdfast_protocol.errors import PermanentError, ProviderError, TransientError

Name = Literal["dbus-fast", "pystemd"]
DAEMON: Final = "org.freedesktop.DBus"
DAEMON_PATH: Final = "/org/freedesktop/DBus"
_TRANSIENT: Final = (
    f"{DAEMON}.Error.NoReply",
    f"{DAEMON}.Error.Disconnected",
    f"{DAEMON}.Error.Timeout",
    f"{DAEMON}.Error.TimedOut",
    f"{DAEMON}.Error.LimitsExceeded",
    f"{DAEMON}.Error.NoMemory",
    f"{DAEMON}.Error.ServiceUnknown",
    f"{DAEMON}.Error.NameHasNoOwner",
    f"{DAEMON}.Error.NoServer",
    f"{DAEMON}.Error.Spawn.",
    "org.freedesktop.systemd1.TransactionIsDestructive",
    "org.freedesktop.systemd1.ShuttingDown",
)
_FORBIDDEN: Final = (f"{DAEMON}.Error.AccessDenied", f"{DAEMON}.Error.InteractiveAuthorizationRequired")


class Refused(PermanentError):
    """The service answered with an error; `reason` is the last word of its name."""


class Signal(NamedTuple):
    """A signal that fits a rule: its name, and its values as plain Python."""

    member: str
    body: Sequence[Any]


class Door(Protocol):
    """Calls methods of one service, and hands its signals on. Belongs to the event loop."""

    async def connect(self) -> object:
        """Make the connection now, if there is none. Raises TransientError with reason BusDown."""
        ...

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Return the values of the answer, variants as what is in them. Raises TransientError, or Refused when the
        service said no."""
        ...

    async def match(self, rule: str, *, wanted: bool = True) -> None:
        """Have the daemon send, or stop sending, the signals that fit `rule`."""
        ...

    async def lost(self) -> None:
        """Return when the connection there is now has ended."""
        ...

    def drop(self) -> None:
        """End the connection; the next call makes a new one."""
        ...


def refusal(name: str, said: str, member: str) -> ProviderError:
    """Return what an error named by the service means for the call of `member`."""
    text = f"systemd refuses {member}: {said or name}"
    if name.startswith(_TRANSIENT):
        return TransientError(text, reason=name.rpartition(".")[2])
    if name in _FORBIDDEN:
        return Refused(text, reason="NotPermitted", hint="run the agent as root, or use the user's own systemd")
    return Refused(text, reason=name.rpartition(".")[2] or "Refused")
