"""The doors to the network as it is: ip(8) to look, networkctl(1) to have systemd-networkd act. Blocking."""

import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Final

from holdfast_edge.providers.network.links import Link, Managed, links_of, managed_of
from holdfast_protocol.errors import PermanentError, TransientError, UnsupportedError

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_WITHIN: Final = 30.0  # seconds
_SETTLES: Final = 5.0  # seconds for systemd-networkd to act
_AGAIN: Final = 0.05  # seconds
_DOWN: Final = (
    "is not running",
    "network1.service not found",
    "Failed to connect",
    "not activated",
    "no such device path",
)


class Live:
    """`path`: where the programs are looked for."""

    def __init__(self, path: str = _PATH) -> None:
        self._path = path

    def links(self) -> dict[str, Link]:
        """Return every interface by name."""
        routes = (self._run("ip", "-j", "-4", "route", "show"), self._run("ip", "-j", "-6", "route", "show"))
        return links_of(self._run("ip", "-j", "address", "show"), routes)

    def managed(self) -> dict[str, Managed]:
        """Return what systemd-networkd says, by interface. TransientError: NetworkdDown."""
        return managed_of(self._run("networkctl", "--json=short", "--no-pager", "list"))

    def settled(self, interface: str, fits: Callable[[Managed], bool]) -> Managed:
        """Return what systemd-networkd says of an interface once it fits, or last said: it answers before it has acted."""
        last = [Managed("", "", "")]

        def fit() -> bool:
            last[0] = self.managed().get(interface, Managed("", "", ""))
            return fits(last[0])

        self.wait(fit)
        return last[0]

    def wait(self, fits: Callable[[], bool]) -> None:
        """Return once it fits, or when systemd-networkd has had time enough."""
        deadline = time.monotonic() + _SETTLES
        while not fits() and time.monotonic() < deadline:
            time.sleep(_AGAIN)

    def reload(self) -> None:
        """Have systemd-networkd read its files again, and configure anew what they have changed for."""
        self._run("networkctl", "reload")

    def reconfigure(self, interface: str) -> None:
        self._run("networkctl", "reconfigure", interface)

    def delete(self, interface: str) -> None:
        self._run("ip", "link", "delete", "dev", interface)

    def add_address(self, interface: str, address: str) -> None:
        self._run("ip", "address", "replace", address, "dev", interface)

    def delete_address(self, interface: str, address: str) -> None:
        """Take an address away; gone already is success."""
        try:
            self._run("ip", "address", "delete", address, "dev", interface)
        except PermanentError as error:
            if "not found" not in error.message and "Cannot assign" not in error.message:
                raise

    def set_link(self, interface: str, *, mtu: int, up: bool) -> None:
        self._run("ip", "link", "set", "dev", interface, "mtu", str(mtu), "up" if up else "down")

    def _run(self, program: str, *arguments: str) -> bytes:
        found = shutil.which(program, path=self._path)
        if found is None:
            package = "iproute2" if program == "ip" else "systemd-networkd"
            raise UnsupportedError(f"there is no {program} here", reason="NoNetworkd", hint=f"install {package}")
        try:
            done = subprocess.run(
                [found, *arguments],
                capture_output=True,
                timeout=_WITHIN,
                check=False,
                stdin=subprocess.DEVNULL,
                env={"PATH": _PATH, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            raise TransientError(f"{program}: no end within {_WITHIN:g} s", reason="Deadline") from None
        except OSError as error:
            raise UnsupportedError(f"{program}: {error.strerror}", reason="NoNetworkd") from None
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.decode(errors="replace").strip()[:300]
        if program == "networkctl" and any(word in said for word in _DOWN):
            hint = "enable it, or let this depend on a SystemdUnit systemd-networkd.service with running: true"
            raise TransientError("systemd-networkd does not run here", after=10.0, reason="NetworkdDown", hint=hint)
        if "not permitted" in said:
            raise UnsupportedError(
                f"{program}: {said}", reason="NotPermitted", hint="the agent may not change networks here"
            )
        raise PermanentError(f"{program} {arguments[0]}: {said}", reason="NetworkRefused")
