"""sshd as it is configured, and the unit that runs it. Blocking: call from a thread."""

from pathlib import Path
from typing import Final

from holdfast_edge.providers.disk.programs import Programs
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.kinds import ssh_policy

_WITHIN: Final = 20.0  # seconds
_UNITS: Final = ("ssh.service", "sshd.service")
_Signature = tuple[tuple[str, int, int, int], ...]


class Daemon:
    """`folder`: /etc/ssh. What sshd says of its configuration is remembered until a file of it changes."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs
        self._known: tuple[_Signature, dict[str, tuple[str, ...]]] | None = None

    def effective(self) -> dict[str, tuple[str, ...]]:
        """Return what applies now to any connection. PermanentError: BadConfiguration; UnsupportedError: NoProgram."""
        signature = self._signature()
        if self._known is None or self._known[0] != signature:
            self._known = (signature, ssh_policy.effective(self._ask(["-T", "-f", str(self._main)])))
        return self._known[1]

    def effective_with(self, trial: Path) -> dict[str, tuple[str, ...]]:
        """Return what would apply if the settings in the file `trial` were read first."""
        self._ask(["-t", "-f", str(trial)])
        return ssh_policy.effective(self._ask(["-T", "-f", str(trial)]))

    def check(self) -> None:
        """Raise PermanentError when the configuration, as it lies there, is none sshd would start with."""
        self._ask(["-t", "-f", str(self._main)])

    def reload(self) -> None:
        """Have a running sshd read its configuration; sessions stay. One started for each connection reads it anyway."""
        if self._programs.find("systemctl") is None:
            return
        for unit in _UNITS:
            if self._programs.run("systemctl", ["--quiet", "is-active", unit], within=_WITHIN).status == 0:
                done = self._programs.run("systemctl", ["reload", unit], within=_WITHIN)
                if done.status:
                    raise TransientError(f"{unit} was not reloaded: {done.said}", reason="NotReloaded")
                return

    @property
    def _main(self) -> Path:
        return self._folder / "sshd_config"

    def _ask(self, arguments: list[str]) -> str:
        done = self._programs.run("sshd", arguments, within=_WITHIN, package="openssh-server")
        if done.status:
            hint = "sshd -t says it as well"
            raise PermanentError(f"sshd refuses its configuration: {done.said}", reason="BadConfiguration", hint=hint)
        return done.out

    def _signature(self) -> _Signature:
        found = []
        for path in (self._main, *sorted(self._folder.glob("sshd_config.d/*"))):
            try:
                seen = path.stat()
            except OSError:
                continue
            found.append((path.name, seen.st_mtime_ns, seen.st_ino, seen.st_size))
        return tuple(found)
