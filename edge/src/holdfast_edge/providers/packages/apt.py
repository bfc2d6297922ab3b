"""apt-get and apt-mark: the one door to changes of packages. Nothing is asked of anybody: configuration files that were
edited stay, and what was cached is used without a network. Blocking: call from a thread."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast_edge.providers.disk.programs import Ended, Programs
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError

_WITHIN: Final = 1800.0  # seconds for a change; one cut off is found and finished later
_ASK_WITHIN: Final = 120.0
_QUIET: Final = (
    *("-q", "-y", "-o", "DPkg::Lock::Timeout=0", "-o", "Dpkg::Use-Pty=0"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
)
_ENVIRONMENT: Final = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
    "HOME": "/root",
}
_INSTALL: Final = ("--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages")
_STEP: Final = re.compile(r"^(Inst|Remv|Purg) ([a-z0-9][a-z0-9+.-]*)", re.MULTILINE)


class Steps(msgspec.Struct, frozen=True):
    """What apt would do, by name."""

    installed: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


class Apt:
    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def plan_install(self, wanted: Sequence[str]) -> Steps:
        """Return what installing these (name or name=version) would do. PermanentError: UnknownPackage, Unsolvable."""
        return _steps(self._run(["-s", *_INSTALL, "install", *wanted], within=_ASK_WITHIN))

    def plan_removal(self, names: Sequence[str]) -> Steps:
        return _steps(self._run(["-s", "--allow-change-held-packages", "remove", *names], within=_ASK_WITHIN))

    def update(self) -> None:
        """Fetch the lists of what there is. TransientError FetchFailed."""
        self._run(["-o", "APT::Update::Error-Mode=any", "update"])

    def download(self, wanted: Sequence[str]) -> None:
        """Fetch what installing these needs, and no more. TransientError FetchFailed."""
        self._run(["-d", *_INSTALL, "install", *wanted])

    def install(self, wanted: Sequence[str]) -> None:
        self._run([*_INSTALL, "install", *wanted])

    def remove(self, names: Sequence[str], *, purge: bool) -> None:
        kind = ["--purge"] if purge else []
        self._run(["--allow-change-held-packages", *kind, "remove", *names])

    def hold(self, name: str, *, held: bool) -> None:
        done = self._programs.run("apt-mark", ["hold" if held else "unhold", name], within=_ASK_WITHIN, package="apt")
        if done.status:
            raise _typed(done)

    def finish(self) -> None:
        """Finish what a run that was cut off had begun."""
        options = ["--force-confdef", "--force-confold", "--configure", "-a"]
        done = self._programs.run("dpkg", options, within=_WITHIN, environment=_ENVIRONMENT)
        if done.status:
            raise _typed(done)

    def _run(self, arguments: Sequence[str], *, within: float = _WITHIN) -> Ended:
        done = self._programs.run(
            "apt-get", [*_QUIET, *arguments], within=within, package="apt", environment=_ENVIRONMENT
        )
        if done.status:
            raise _typed(done)
        return done


def _steps(done: Ended) -> Steps:
    found = _STEP.findall(done.out)
    return Steps(
        frozenset(name for verb, name in found if verb == "Inst"),
        frozenset(name for verb, name in found if verb != "Inst"),
    )


def _typed(done: Ended) -> ProviderError:
    errors = [line.removeprefix("E: ") for line in done.err.splitlines() if line.startswith("E: ")]
    text = f"apt: {'; '.join(errors)[:300] or done.said}"
    said = f"{done.err}\n{done.out}"
    if "Could not get lock" in said or "Unable to acquire" in said or "is another process using it" in said:
        return TransientError(text, after=3.0, reason="DpkgLocked", hint="let the other program finish")
    if "Unable to locate package" in said or "was not found" in said or "no installation candidate" in said:
        hint = "is it in a source of this machine, and the version right?"
        return PermanentError(text, reason="UnknownPackage", hint=hint)
    if "Failed to fetch" in said or "Unable to fetch" in said or "Could not resolve" in said:
        return TransientError(text, reason="FetchFailed", hint="the source cannot be reached, or has other files")
    if "Essential packages were removed" in said:
        return PermanentError(text, reason="Protected", hint="it is not taken away by a target")
    if "unmet dependencies" in said or "held broken" in said:
        return PermanentError(text, reason="Unsolvable", hint="apt-get -s install says why")
    if "No space left" in said or "enough free space" in said:
        return TransientError(text, reason="DiskFull", hint="make room")
    return TransientError(text, reason="AptFailed", hint="a script of the package failed? see /var/log/apt/term.log")
