"""Packages of Debian's kind: installed, kept at a version, held or taken away. Only what we installed goes with its resource,
and never what the system or the agent stands on. A run that was cut off is finished first.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Ledger
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.packages.apt import Apt, Steps
from holdfast_edge.providers.packages.charges import Charge, Charges
from holdfast_edge.providers.packages.dpkg import Dpkg, Installed
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, WireError
from holdfast_protocol.kinds import package
from holdfast_protocol.kinds.package import Item, Wanted
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

T = TypeVar("T")
_STAND: Final = frozenset({"apt", "dbus", "dpkg", "init", "libc6", "python3", "systemd", "systemd-sysv", "udev"})
_OWN: Final = "holdfast"  # begins the names of the agent's own packages
_WORTH_UPDATING: Final = ("UnknownPackage", "FetchFailed")


class PackageProvider:
    """`state`: where the ledger lives; `dpkg`: the folder of dpkg's database."""

    kinds: tuple[str, ...] = ("Package",)

    def __init__(self, *, state: Path, dpkg: Path = Path("/var/lib/dpkg"), programs: Programs | None = None) -> None:
        programs = programs or Programs()
        self._dpkg = Dpkg(dpkg, programs)
        self._apt = Apt(programs)
        self._charges = Charges(Ledger(state))
        self._wanted: dict[ResourceKey, Wanted] = {}  # by the last look: who else asks for a package
        self._lock = threading.Lock()
        self._kept: frozenset[str] | None = None
        roots = Roots([dpkg])
        self._watch = PathWatch(lambda path: roots.folders(roots.place(path)))

    def check(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        if kept := [item.name for item in want.items if item.state == "absent" and _never(item.name)]:
            raise _protected(kept)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._prepare, resource)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        def look() -> dict[ResourceKey, Observed]:
            self._forget_what_never_came()
            now = self._dpkg.packages()
            return failures.each_seen(resources, lambda each: self._one(each, now))

        found = await anyio.to_thread.run_sync(look)
        self._wanted = {key: want for key, want in self._wanted.items() if key in found}
        self._watch.follow([str(self._dpkg.folder / "status")])
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: what we installed for it and nobody else asks for, holds of ours. PermanentError NeededByOthers."""
        purge = bool((body.get("spec") or {}).get("purge"))
        self._wanted.pop(key, None)
        await anyio.to_thread.run_sync(self._remove, key, purge)

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _forget_what_never_came(self) -> None:
        """A kill between the charge and its package leaves the charge alone: who installs it from now on is not us."""
        if not self._lock.acquire(blocking=False):
            return  # it is just being installed
        try:
            self._dpkg.refuse_locked()
            now = self._dpkg.packages()
            self._charges.forget(name for name in self._charges.names() if not _there(now, name))
        except TransientError:
            return  # it may be: by an apt of ours that outlived us, too
        finally:
            self._lock.release()

    def _one(self, resource: Resource, now: Mapping[str, Installed]) -> Observed:
        want = self._wanted[resource.key] = _want(resource)
        charges = self._charges.of(resource.key)
        found = [said for item in want.items if (said := _difference(item, now.get(item.name), want, charges))]
        found += [f"{name}: is left over" for name in _left(want, charges)]
        there = [each for item in want.items if (each := now.get(item.name)) is not None and each.there]
        return Observed(
            key=resource.key,
            exists=bool(there) or all(item.state == "absent" for item in want.items),
            differences=tuple(found),
            status={"packages": [{"name": each.name, "version": each.version, "held": each.held} for each in there]},
        )

    def _prepare(self, resource: Resource) -> None:
        if self._dpkg.interrupted():
            return  # nothing can be tried before that is finished, which is a change
        missing = _missing(_want(resource), self._dpkg.packages())
        if missing:
            with self._lock:
                self._dpkg.refuse_locked()
                self._plan(missing)
                self._fetching(lambda: self._apt.download(missing))

    def _apply(self, resource: Resource) -> None:
        want, key = _want(resource), resource.key
        with self._lock:
            self._dpkg.refuse_locked()
            if self._dpkg.interrupted():
                self._apt.finish()
            if missing := _missing(want, self._dpkg.packages()):
                self._install(key, want, missing)
            now = self._dpkg.packages()
            charges = self._charges.of(key)
            unwanted = [each for item in want.items if item.state == "absent" and _stands(each := item.name, now, want)]
            for item in want.items:
                if item.name in unwanted and item.name not in self._charges.names() and not item.take_over:
                    hint = "takeOver: true takes away what was there before"
                    raise PermanentError(f"{item.name} was there before", reason="NotOurs", hint=hint)
            if unwanted:
                self._refuse_removal(Steps(removed=frozenset(unwanted)), unwanted)
                self._refuse_removal(self._apt.plan_removal(unwanted), {*unwanted, *self._charges.names()})
                self._apt.remove(unwanted, purge=want.purge)
                self._charges.forget(unwanted)
            self._hold(key, want, charges)
        if left := _left(want, self._charges.of(key)):
            self._remove(key, want.purge, left)

    def _install(self, key: ResourceKey, want: Wanted, missing: list[str]) -> None:
        before = self._dpkg.packages()
        steps = self._plan(missing)
        new = sorted(name for name in steps.installed if not ((has := before.get(name)) and has.there))
        asked = {item.name for item in want.items}
        self._charges.put(key, {name: Charge(installed=True, asked=name in asked) for name in new})
        try:
            self._fetching(lambda: self._apt.install(missing))
        except ProviderError:
            now = self._dpkg.packages()
            self._charges.forget(name for name in new if not _there(now, name))  # who installs it later is not us
            raise

    def _plan(self, missing: list[str]) -> Steps:
        """Return what installing them would do, after refusing what would take others away, or means another package."""
        steps = self._fetching(lambda: self._apt.plan_install(missing))
        self._refuse_removal(steps, set(self._charges.names()))
        for each in missing:
            if each.partition("=")[0] not in steps.installed:
                hint = "is it in a source of this machine, by this name?"
                raise PermanentError(f"{each} is no package apt would install", reason="UnknownPackage", hint=hint)
        return steps

    def _fetching(self, call: Callable[[], T]) -> T:
        """Return what `call` does, once more after fetching the lists when it lacks something."""
        try:
            return call()
        except ProviderError as error:
            if error.reason not in _WORTH_UPDATING:
                raise
        self._apt.update()
        return call()

    def _hold(self, key: ResourceKey, want: Wanted, charges: Mapping[str, Charge]) -> None:
        now = self._dpkg.packages()
        for item in want.items:
            has, charge = now.get(item.name), charges.get(item.name, Charge())
            if item.state == "held" and has is not None and not has.held:
                self._charges.put(key, {item.name: msgspec.structs.replace(charge, held=True)})
                self._apt.hold(item.name, held=True)
            elif item.state == "present" and charge.held:
                if has is not None and has.held:
                    self._apt.hold(item.name, held=False)
                if charge.installed:
                    self._charges.put(key, {item.name: msgspec.structs.replace(charge, held=False)})
                else:
                    self._charges.forget([item.name])

    def _remove(self, key: ResourceKey, purge: bool, only: Sequence[str] = ()) -> None:
        """[inv: only-owned-things-are-removed]"""
        with self._lock:
            if not self._charges.of(key):
                return
            self._dpkg.refuse_locked()
            if self._dpkg.interrupted():
                self._apt.finish()
            self._hand_over(key)
            charges = self._charges.of(key)
            if only:
                charges = {name: charge for name, charge in charges.items() if name in only}
            now = self._dpkg.packages()
            for name, charge in charges.items():
                if charge.held and (has := now.get(name)) is not None and has.held:
                    self._apt.hold(name, held=False)
            asked = [name for name, each in charges.items() if each.installed and each.asked and _there(now, name)]
            drawn = [name for name, each in charges.items() if each.installed and not each.asked and _there(now, name)]
            if asked or drawn:
                self._apt.remove(self._removable(asked, drawn), purge=purge)
            self._charges.forget(charges)

    def _removable(self, asked: list[str], drawn: list[str]) -> list[str]:
        """Return what may go: with what it drew in, or by itself when others came to need that."""
        ours = {*asked, *drawn}
        together = self._apt.plan_removal([*asked, *drawn])
        if together.removed <= ours:
            self._refuse_removal(together, ours)
            return [*asked, *drawn]
        if not asked:
            return []
        alone = self._apt.plan_removal(asked)
        if others := sorted(alone.removed - ours):
            said = f"{', '.join(others[:5])} came to need {', '.join(asked[:5])}"
            raise PermanentError(said, reason="NeededByOthers", hint="remove those first")
        self._refuse_removal(alone, ours)
        return asked

    def _hand_over(self, key: ResourceKey) -> None:
        """Give what another resource of the target asks for into its charge."""
        for name, charge in self._charges.of(key).items():
            for other, want in self._wanted.items():
                if other != key and any(item.name == name and item.state != "absent" for item in want.items):
                    self._charges.put(other, {name: msgspec.structs.replace(charge, asked=charge.installed)})
                    break

    def _refuse_removal(self, steps: Steps, allowed: Iterable[str]) -> None:
        # [inv: agent-is-never-its-own-casualty, only-owned-things-are-removed]
        now = self._dpkg.packages()
        kept = [
            name
            for name in sorted(steps.removed)
            if _never(name) or name in self._agents() or ((has := now.get(name)) is not None and has.protected)
        ]
        if kept:
            raise _protected(kept)
        if others := sorted(steps.removed - set(allowed)):
            said = f"apt would take away {', '.join(others[:5])}, which is not ours"
            raise PermanentError(said, reason="RemovesOthers", hint="apt-get -s says why")

    def _agents(self) -> frozenset[str]:
        """Return the packages the agent's own program is of."""
        if self._kept is None:
            paths = {sys.executable, str(Path(sys.executable).resolve())}
            self._kept = frozenset(owner for path in paths if (owner := self._dpkg.owner(path)))
        return self._kept


def _difference(item: Item, has: Installed | None, want: Wanted, charges: Mapping[str, Charge]) -> str:
    if item.state == "absent":
        gone = has is None or has.state == "not-installed" or (has.state == "config-files" and not want.purge)
        return "" if gone else f"{item.name}: is there"
    if has is None or not has.there:
        half = f" ({has.state})" if has is not None and has.state not in {"not-installed", "config-files"} else ""
        return f"{item.name}: is not installed{half}"
    if item.version and item.version != has.version:
        return f"{item.name}: is {has.version}, wanted {item.version}"
    if item.state == "held" and not has.held:
        return f"{item.name}: is not held"
    if item.state == "present" and charges.get(item.name, Charge()).held:
        return f"{item.name}: is held by us"
    return ""


def _left(want: Wanted, charges: Mapping[str, Charge]) -> list[str]:
    """Return what is in our charge and named no more."""
    asked = {item.name for item in want.items}
    return [name for name, charge in charges.items() if charge.named and name not in asked]


def _missing(want: Wanted, now: Mapping[str, Installed]) -> list[str]:
    """Return what apt is to install, as it reads it."""
    found = []
    for item in want.items:
        has = now.get(item.name)
        if item.state != "absent" and (has is None or not has.there or (item.version and item.version != has.version)):
            found.append(f"{item.name}={item.version}" if item.version else item.name)
    return found


def _stands(name: str, now: Mapping[str, Installed], want: Wanted) -> bool:
    has = now.get(name)
    return has is not None and bool(_difference(Item(name, state="absent"), has, want, {}))


def _there(now: Mapping[str, Installed], name: str) -> bool:
    return (has := now.get(name)) is not None and has.state not in {"not-installed", "config-files"}


def _never(name: str) -> bool:
    return name in _STAND or name.startswith(_OWN)


def _protected(names: Sequence[str]) -> PermanentError:
    said = f"{', '.join(names[:5])}: the system or the agent stands on it"
    return PermanentError(said, reason="Protected", hint="it is not taken away by a target")


def _want(resource: Resource) -> Wanted:
    try:
        return package.wanted(resource.spec, resource.name)
    except WireError as error:
        raise failures.refusal(error) from None
