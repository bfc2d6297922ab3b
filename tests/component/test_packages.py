"""Packages where a change was cut off, by a kill or with the power: it is finished, and what is written down is true again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.disk.programs import Ended, Programs
from holdfast_edge.providers.packages.provider import PackageProvider
from holdfast_edge.providers.port import Observed, Scope
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = pytest.mark.anyio


class Debian(Programs):
    """dpkg's database and apt over it, as far as they are asked. `cut_at`: the call after which everything ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.states: dict[str, str] = {}  # by name, in dpkg's words
        self.held: set[str] = set()
        self.offered = {"valve", "press"}
        self.cut_at = ""
        self.changed = 0
        self._write()

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        within: float,
        stdin: str = "",
        package: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        words = [each for each in arguments if not each.startswith("-") and "::" not in each]
        if name == "dpkg-query":
            return Ended(0, "" if "-S" in arguments else self._listed(), "")
        if name == "dpkg":
            self.states = dict.fromkeys(self.states, "installed")
            self._write()
            return Ended(0, "", "")
        if name == "apt-mark":
            verb, each = words
            (self.held.add if verb == "hold" else self.held.discard)(each)
            return self._changed(verb)
        verb, names = words[0], words[1:]
        if verb == "update" or "-d" in arguments:
            return Ended(0, "", "")
        gone = verb == "remove"
        acting = [each for each in names if (each in self.states) == gone]
        if "-s" in arguments:
            return Ended(0, "".join(f"{'Remv' if gone else 'Inst'} {each} (1)\n" for each in acting), "")
        for each in acting:
            if gone:
                del self.states[each]
            else:
                self.states[each] = "installed"
        return self._changed(verb)

    def _changed(self, verb: str) -> Ended:
        self._write()
        if verb == self.cut_at:
            raise TransientError("the power is gone")
        return Ended(0, "", "")

    def _listed(self) -> str:
        lines = (
            f"{name}\t1\t{'hold' if name in self.held else 'install'}\t{state}\tno\tno\toptional\n"
            for name, state in self.states.items()
        )
        return "".join(lines)

    def _write(self) -> None:
        self.changed += 1
        self.folder.mkdir(exist_ok=True)
        (self.folder / "status").write_text("x" * self.changed)


class Packages:
    """The provider of one resource; every call is one of a fresh start."""

    def __init__(self, folder: Path) -> None:
        self.debian = Debian(folder / "dpkg")
        self._folder = folder

    def provider(self) -> PackageProvider:
        return PackageProvider(state=self._folder / "state", dpkg=self.debian.folder, programs=self.debian)

    async def look(self, wanted: Resource) -> Observed:
        return (await self.provider().observe([wanted], scope(wanted)))[wanted.key]

    async def apply(self, wanted: Resource) -> None:
        await self.provider().apply(wanted, scope(wanted))

    async def cut(self, wanted: Resource, at: str) -> None:
        self.debian.cut_at = at
        with pytest.raises(TransientError):
            await self.apply(wanted)
        self.debian.cut_at = ""


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(tmp_path)


def scope(wanted: Resource) -> Scope:
    return Scope({wanted.key: wanted})


def items(**states: str) -> Resource:
    listed: list[dict[str, Any]] = [{"name": name, "state": state} for name, state in states.items()]
    return target.resource(
        {
            "apiVersion": "holdfast.io/v1alpha1",
            "kind": "Package",
            "metadata": {"name": "line"},
            "spec": {"packages": listed},
        }
    )


async def test_a_run_of_dpkg_that_was_cut_off_is_finished_and_refuses_no_target(packages: Packages) -> None:
    packages.debian.states["valve"] = "half-configured"
    wanted = items(valve="present", press="present")
    await packages.provider().prepare(wanted, scope(wanted))
    await packages.apply(wanted)
    assert packages.debian.states == {"valve": "installed", "press": "installed"}
    assert (await packages.look(wanted)).as_wanted


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_what_a_person_installs_after_ours_was_taken_away_is_not_ours(packages: Packages) -> None:
    await packages.apply(items(valve="present"))
    unwanted = items(valve="absent")
    await packages.cut(unwanted, at="remove")
    assert packages.debian.states == {}
    assert (await packages.look(unwanted)).as_wanted

    packages.debian.states["valve"] = "installed"
    packages.debian._write()
    with pytest.raises(PermanentError) as caught:
        await packages.apply(unwanted)
    assert caught.value.reason == "NotOurs"


@pytest.mark.invariant("only-owned-things-are-removed")
async def test_a_hold_of_a_person_after_ours_was_let_go_is_not_ours(packages: Packages) -> None:
    packages.debian.states["valve"] = "installed"
    await packages.apply(items(valve="held"))
    free = items(valve="present")
    await packages.cut(free, at="unhold")
    assert packages.debian.held == set()
    assert not (await packages.look(free)).as_wanted, "it is written down as ours still"
    await packages.apply(free)

    packages.debian.held.add("valve")
    packages.debian._write()
    assert (await packages.look(free)).as_wanted
    await packages.provider().remove(free.key, free.body)
    assert packages.debian.held == {"valve"}
