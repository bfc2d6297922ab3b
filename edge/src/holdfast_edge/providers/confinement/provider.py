"""Mandatory access control: asserted, and enforced where the machine can: profiles of AppArmor kept loaded, SELinux set to
enforcing. What is only asserted is never changed.

The kernel tells of no profile that goes: that is seen by the periodic look, of the file at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from holdfast_edge.providers.confinement.live import Live
from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.ledger import make_folder
from holdfast_edge.providers.disk.programs import Ended, Programs
from holdfast_edge.providers.disk.replace import replace_file
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, UnsupportedError, WireError
from holdfast_protocol.kinds import mandatory_access_control as kind
from holdfast_protocol.runtime.clock import boot_id
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_PARSER: Final = "apparmor_parser"
_WITHIN: Final = 60.0  # seconds: compiling a policy takes long on small machines
_SELINUX: Final = "holdfast-selinux"  # the file that remembers what mode stood before, and in which boot


class MandatoryAccessControlProvider:
    """`state`: where the ledger lives. `allowed` false: assertions only. The ledger's note of a policy is the digest of
    the text that was loaded. `root` stands for / of the machine; `agent`: programs no profile may confine."""

    kinds: tuple[str, ...] = ("MandatoryAccessControl",)

    def __init__(
        self,
        *,
        allowed: bool,
        state: Path,
        root: Path = Path("/"),
        programs: Programs | None = None,
        agent: Sequence[str] = (),
    ) -> None:
        self._allowed = allowed
        self._folder = root / "etc/apparmor.d"
        self._before = state / _SELINUX
        self._texts = OwnedTexts(root / "etc", state)
        self._live = Live(root)
        self._programs = programs or Programs()
        own = [*agent, sys.executable, sys.argv[0]]
        self._agent = sorted({form for path in own for form in (os.path.abspath(path), os.path.realpath(path))})

    def check(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        if want.mode == "enforce":
            self._refuse(want)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        if want.mode == "enforce" and want.policy:
            await anyio.to_thread.run_sync(self._try, want)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)
        self._texts.follow(self._path(each) for each in resources if is_name(each.name) and each.spec.get("policy"))
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: our profiles go from the kernel and from the disk; SELinux gets back the mode from before."""
        await anyio.to_thread.run_sync(self._remove, key)

    async def run_watch(self, wake: Wake) -> None:
        await self._texts.run_watch(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want = _want(resource)
        return self._selinux(resource.key, want) if want.system == "selinux" else self._apparmor(resource, want)

    def _selinux(self, key: ResourceKey, want: kind.Spec) -> Observed:
        now = self._live.selinux()
        status = {"system": "selinux", "mode": now, "compliant": now == "enforcing"}
        if want.mode == "assert" and self._mode_before(key):
            return Observed(key=key, exists=True, differences=("mode: is ours still",), status=status)
        if now == "enforcing":
            return Observed(key=key, exists=True, reason="Compliant", status=status)
        if want.mode == "enforce":
            return Observed(key=key, exists=False, differences=(f"mode: is {now or 'off'}",), status=status)
        said = f"SELinux is {now or 'off'}"
        return _degraded(key, "NotEnforcing" if now else "NotEnabled", said, "setenforce 1, or boot with it", status)

    def _apparmor(self, resource: Resource, want: kind.Spec) -> Observed:
        now = self._live.apparmor()
        status: dict[str, Any] = {"system": "apparmor", "enabled": now.enabled, "loaded": len(now.profiles or {})}
        if want.mode == "enforce":
            path = self._path(resource)
            differences = self._differences(resource, want, path)
            if differences:
                exists = self._texts.key(path) == resource.key
                return Observed(key=resource.key, exists=exists, differences=differences, status=status)
        elif self._texts.paths(resource.key):
            return Observed(key=resource.key, exists=True, differences=("policy: is left over",), status=status)
        if not now.enabled:
            hint = "boot the kernel with apparmor=1 security=apparmor"
            return _degraded(resource.key, "NotEnabled", "AppArmor is off", hint, status)
        if now.profiles is None and want.profiles:
            hint = "mount securityfs at /sys/kernel/security"
            return _degraded(resource.key, "CannotTell", "the kernel's profiles cannot be read", hint, status)
        unmet = [
            f"{name} is {mode or 'not loaded'}, wanted {asked}"
            for name, asked in want.profiles.items()
            if (mode := (now.profiles or {}).get(name)) != asked and not (mode and asked == "loaded")
        ]
        if unmet:
            hint = "aa-enforce or apparmor_parser -r, or give its text as policy"
            more = status | {"compliant": False, "unmet": unmet}
            return _degraded(resource.key, "ProfileUnmet", "; ".join(unmet[:5]), hint, more)
        return Observed(key=resource.key, exists=True, reason="Compliant", status=status | {"compliant": True})

    def _differences(self, resource: Resource, want: kind.Spec, path: str) -> tuple[str, ...]:
        text = kind.render(want)
        if said := self._texts.difference(path, text):
            return (said,)
        if self._texts.key(path) != resource.key or self._texts.note(path) is None:
            return ("policy: not ours yet",)
        digest, *names = (self._texts.note(path) or "").split("\n")
        if digest != digest_bytes(text.encode()):
            return ("policy: not loaded yet",)
        loaded = self._live.apparmor().profiles
        gone = [name for name in names if loaded is not None and name not in loaded]
        return (f"policy: {', '.join(gone)[:200]} not loaded",) if gone else ()

    def _refuse(self, want: kind.Spec) -> None:
        if not self._allowed:
            hint = "say security = true in [providers] of edge.toml"
            raise UnsupportedError("confinement is not open to changes here", reason="SecurityClosed", hint=hint)
        if want.system == "selinux":
            if not self._live.selinux():
                raise UnsupportedError("SELinux is off", reason="NotEnabled", hint="boot the kernel with selinux=1")
            return
        if not self._live.apparmor().enabled:
            hint = "boot the kernel with apparmor=1 security=apparmor"
            raise UnsupportedError("AppArmor is off", reason="NotEnabled", hint=hint)
        if self._programs.find(_PARSER) is None:
            raise UnsupportedError(f"there is no {_PARSER} here", reason="NoParser", hint="install apparmor")
        for program in self._agent:  # [inv: agent-is-never-its-own-casualty]
            if kind.confines(want.policy, program):
                hint = "name the programs it is for, not every one"
                raise PermanentError(f"a profile would confine the agent ({program})", reason="AgentPath", hint=hint)

    def _try(self, want: kind.Spec) -> None:
        self._refuse(want)
        done = self._programs.run(_PARSER, ["-Q", "-K"], within=_WITHIN, stdin=kind.render(want))
        _raise_refused(done)

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        if want.mode == "assert":
            self._remove(resource.key)
            return
        self._refuse(want)
        if want.system == "selinux":
            _, mode = self._mode_remembered()
            self._remember(resource.key, mode or self._live.selinux())
            self._live.set_selinux("enforcing")
            return
        path, text = self._path(resource), kind.render(want)
        self._texts.claim(resource, path, scope.resources)
        self._try(want)
        names = self._names(text)
        _, *before = (self._texts.note(path) or "").split("\n")
        self._texts.put(resource.key, path, text, note="\n".join(("", *sorted({*before, *names}))))
        _raise_refused(self._programs.run(_PARSER, ["-r", path], within=_WITHIN))
        for gone in sorted({*before} - {*names, ""}):
            self._programs.run(_PARSER, ["-R"], within=_WITHIN, stdin=f'profile "{gone}" {{ }}\n')
        self._texts.annotate(path, "\n".join((digest_bytes(text.encode()), *names)))

    def _names(self, text: str) -> list[str]:
        done = self._programs.run(_PARSER, ["-N"], within=_WITHIN, stdin=text)
        _raise_refused(done)
        return sorted(line.strip() for line in done.out.splitlines() if line.strip())

    def _remove(self, key: ResourceKey) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._texts.paths(key):
            if os.path.exists(path) and self._live.apparmor().enabled:
                self._programs.run(_PARSER, ["-R", path], within=_WITHIN)
            self._texts.take_away(path)
        if mode := self._mode_before(key):
            if mode == "permissive" and self._live.selinux():
                self._live.set_selinux(mode)
            self._before.unlink()

    def _mode_before(self, key: ResourceKey) -> str:
        """Return the mode that stood before a resource set it in this boot, "" when it set none."""
        owner, mode = self._mode_remembered()
        return mode if owner == key else ""

    def _mode_remembered(self) -> tuple[str, str]:
        """Return who set the mode last in this boot, and the one that stood before the first did; "" for nobody."""
        try:
            owner, mode, boot, *_ = (self._before.read_text() + "\n\n\n").split("\n")
        except FileNotFoundError:
            return "", ""
        return (owner, mode) if boot == boot_id() else ("", "")

    def _remember(self, key: ResourceKey, mode: str) -> None:
        try:
            make_folder(self._before.parent)
            folder = os.open(self._before.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(folder, self._before.name, f"{key}\n{mode}\n{boot_id()}\n".encode(), mode=0o600)
            finally:
                os.close(folder)
        except OSError as error:
            raise failures.provider_error(error, str(self._before)) from error

    def _path(self, resource: Resource) -> str:
        return str(self._folder / f"holdfast-{resource.name}")


def _raise_refused(done: Ended) -> None:
    if done.status:
        raise PermanentError(
            f"{_PARSER}: {done.said}", reason="PolicyRefused", hint="apparmor_parser -Q says it as well"
        )


def _degraded(key: ResourceKey, reason: str, message: str, hint: str, status: Mapping[str, Any]) -> Observed:
    said = {"compliant": False, **status}
    return Observed(key=key, exists=True, readiness="degraded", reason=reason, message=message, hint=hint, status=said)


def _want(resource: Resource) -> kind.Spec:
    if not is_name(resource.name):
        raise PermanentError(f"{resource.name[:100]!r} cannot name a file of settings", reason="BadName")
    try:
        return kind.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
