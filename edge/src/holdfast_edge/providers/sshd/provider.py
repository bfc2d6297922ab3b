"""SSH policies: settings of sshd in a file of their own, tried before they are there, and asserted as sshd understands them.

The first value sshd reads counts: our file's name sorts before others. Another that is read before ours, or a main file
that includes none, makes the policy degraded, not a fight.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.scratch import Scratch
from holdfast_edge.providers.disk.texts import OwnedTexts
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_edge.providers.sshd.daemon import Daemon
from holdfast_protocol.errors import PermanentError, ProviderError, UnsupportedError, WireError
from holdfast_protocol.kinds import ssh_policy
from holdfast_protocol.kinds.ssh_policy import Wanted
from holdfast_protocol.wire.digest import digest_bytes
from holdfast_protocol.wire.names import ResourceKey, is_name
from holdfast_protocol.wire.target import Resource

_HEAD: Final = "# By Holdfast: changes made here are undone.\n"
_CLOSED: Final = "say security = true in [providers] of edge.toml"


class SSHPolicyProvider:
    """`state`: where the ledger and the file on trial live. `allowed` false: assertions only. The ledger's note of a file
    is the digest of the text sshd was told to read."""

    kinds: tuple[str, ...] = ("SSHPolicy",)

    def __init__(
        self, *, allowed: bool, state: Path, etc: Path = Path("/etc"), programs: Programs | None = None
    ) -> None:
        self._allowed = allowed
        self._folder = etc / "ssh"
        self._scratch = Scratch(state / "trial")
        self._texts = OwnedTexts(etc, state)
        self._daemon = Daemon(self._folder, programs or Programs())

    def check(self, resource: Resource, scope: Scope) -> None:
        if _want(resource).enforced and not self._allowed:
            raise UnsupportedError("sshd is not open to changes here", reason="SecurityClosed", hint=_CLOSED)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        if (want := _want(resource)).enforced:
            await anyio.to_thread.run_sync(self._try, want)

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        found = await anyio.to_thread.run_sync(failures.each_seen, resources, self._one)
        ours = [self._path(each) for each in resources if is_name(each.name)]
        self._texts.follow([*ours, str(self._folder / "sshd_config")])
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: the file, and sshd reads what is left."""
        await anyio.to_thread.run_sync(self._remove, key)

    async def run_watch(self, wake: Wake) -> None:
        await self._texts.run_watch(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource) -> Observed:
        want, path = _want(resource), self._path(resource)
        differences = self._differences(resource, want) if want.enforced else []
        if not want.enforced and self._texts.paths(resource.key):
            differences.append("file: is left over")
        if differences:
            return Observed(
                key=resource.key, exists=self._texts.key(path) == resource.key, differences=tuple(differences)
            )
        try:
            now = self._daemon.effective()
        except ProviderError as error:
            return _degraded(resource.key, error.reason, error.message, error.hint)
        if unmet := ssh_policy.unmet(want, now):
            reason = "Overridden" if want.enforced else "PolicyNotMet"
            hint = (
                "a file that is read before it says otherwise, or sshd_config includes no sshd_config.d"
                if want.enforced
                else "set it on the machine, or say mode: enforce"
            )
            return _degraded(resource.key, reason, "; ".join(unmet[:5]), hint, unmet=unmet)
        status = {"compliant": True, "waysIn": ssh_policy.ways_in(now)}
        return Observed(key=resource.key, exists=True, reason="Compliant", detail={"file": path}, status=status)

    def _differences(self, resource: Resource, want: Wanted) -> list[str]:
        path, text = self._path(resource), _text(want)
        if said := self._texts.difference(path, text):
            return [said]
        if self._texts.key(path) != resource.key:
            return ["file: not ours yet"]
        return [] if self._texts.note(path) == _digest(text) else ["file: sshd has not read it yet"]

    def _apply(self, resource: Resource, scope: Scope) -> None:
        want, path = _want(resource), self._path(resource)
        if not want.enforced:
            self._remove(resource.key)
            return
        self.check(resource, scope)
        text = _text(want)
        self._texts.claim(resource, path, scope.resources)
        self._try(want)
        self._texts.put(resource.key, path, text)  # its note is empty until sshd was told
        try:
            self._daemon.check()
        except PermanentError:
            self._texts.take_away(path)
            raise
        self._daemon.reload()
        self._texts.annotate(path, _digest(text))

    def _try(self, want: Wanted) -> None:
        """Raise what sshd would say to these settings, and PermanentError LocksOut when nobody could log in by them."""
        with self._scratch.room() as room:
            trial = room / "sshd_config"
            trial.write_text(f"{ssh_policy.render(want)}Include {self._folder}/sshd_config\n")
            now = self._daemon.effective_with(trial)
        if not ssh_policy.ways_in(now):  # [inv: agent-is-never-its-own-casualty] nor the technician
            hint = "leave one method of authentication on"
            raise PermanentError("would leave no way to log in", reason="LocksOut", hint=hint)

    def _remove(self, key: ResourceKey) -> None:  # [inv: only-owned-things-are-removed]
        for path in self._texts.paths(key):
            self._texts.put(key, path, _HEAD)  # says nothing, and stays ours until sshd has read that
            self._daemon.reload()
            self._texts.take_away(path)

    def _path(self, resource: Resource) -> str:
        return str(self._folder / "sshd_config.d" / f"00-holdfast-{resource.name}.conf")


def _degraded(key: ResourceKey, reason: str, message: str, hint: str, unmet: Sequence[str] = ()) -> Observed:
    status = {"compliant": False, "unmet": list(unmet)}
    return Observed(
        key=key, exists=True, readiness="degraded", reason=reason, message=message, hint=hint, status=status
    )


def _text(want: Wanted) -> str:
    return _HEAD + ssh_policy.render(want)


def _digest(text: str) -> str:
    return digest_bytes(text.encode())


def _want(resource: Resource) -> Wanted:
    if not is_name(resource.name):
        raise PermanentError(f"{resource.name[:100]!r} cannot name a file of settings", reason="BadName")
    try:
        return ssh_policy.wanted(resource.spec)
    except WireError as error:
        raise failures.refusal(error) from None
