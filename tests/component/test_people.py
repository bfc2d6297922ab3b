"""Accounts: only what we made is taken away, whoever tries what in between. The programs of shadow are stand-ins."""

from pathlib import Path
from typing import Any

import pytest

from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.people.provider import PeopleProvider
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError
from holdfast_protocol.wire import target
from holdfast_protocol.wire.target import Resource

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("only-owned-things-are-removed")]
NOTHING = Scope(resources={})
OLD_GROUP = b"cl\xe9s".decode(errors="surrogateescape")
ADA = "ada:x:1001:1001:{comment}:/home/ada:/bin/sh"


class Machine:
    """The files of accounts below a folder, and programs that say what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.etc, self._bin, self._log = folder / "etc", folder / "bin", folder / "log"
        self.etc.mkdir()
        self._bin.mkdir()
        for name in ("passwd", "shadow", "group"):
            (self.etc / name).write_text("")
        for name in ("useradd", "usermod", "userdel", "groupadd", "groupdel"):
            self.answer(name, "exit 0")
        self.provider = PeopleProvider(
            state=folder / "state", etc=self.etc, programs=Programs(f"{self._bin}:/usr/bin:/bin")
        )

    def answer(self, program: str, does: str) -> None:
        file = self._bin / program
        file.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{self._log}\n{does}\n')
        file.chmod(0o755)

    def calls(self) -> list[str]:
        return self._log.read_text(errors="surrogateescape").splitlines() if self._log.exists() else []

    def has(self, name: str, *lines: str) -> None:
        with (self.etc / name).open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in lines)

    def has_ada(self, comment: str = "") -> None:
        self.has("passwd", ADA.format(comment=comment))
        self.has("shadow", "ada:!:19000:0:99999:7:::")
        self.has("group", "ada:x:1001:")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def account(kind: str, name: str, **spec: Any) -> Resource:
    return target.resource(
        {"apiVersion": "holdfast.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


async def test_an_account_we_failed_to_make_is_not_ours_when_somebody_else_makes_it(machine: Machine) -> None:
    ada = account("User", "ada", system=True, removeHome=True)
    machine.answer("useradd", "echo 'useradd: UID 1001 is not unique' >&2; exit 4")
    with pytest.raises(ProviderError, match="not unique"):
        await machine.provider.apply(ada, NOTHING)
    machine.has_ada()
    with pytest.raises(PermanentError, match="was there before"):
        await machine.provider.apply(ada, NOTHING)
    await machine.provider.remove(ada.key, ada.body)
    assert not [each for each in machine.calls() if each.startswith("userdel")]


async def test_a_group_we_failed_to_make_is_not_ours_when_somebody_else_makes_it(machine: Machine) -> None:
    printers = account("Group", "printers")
    machine.answer("groupadd", "exit 4")
    with pytest.raises(ProviderError):
        await machine.provider.apply(printers, NOTHING)
    machine.has("group", "printers:x:1002:")
    await machine.provider.remove(printers.key, printers.body)
    assert not [each for each in machine.calls() if each.startswith("groupdel")]


async def test_an_account_that_was_made_before_the_program_failed_is_ours(machine: Machine) -> None:
    ada = account("User", "ada", system=True)
    machine.answer(
        "useradd", f"echo '{ADA.format(comment='')}' >>{machine.etc}/passwd; echo 'no room for shadow' >&2; exit 1"
    )
    with pytest.raises(ProviderError):
        await machine.provider.apply(ada, NOTHING)
    await machine.provider.remove(ada.key, ada.body)
    assert machine.calls()[-1] == "userdel ada"


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c"])
async def test_no_account_hides_behind_what_it_says_of_itself(machine: Machine, mark: str) -> None:
    ada = account("User", "ada", system=True)
    line = ADA.format(comment=f",room {mark},,")
    machine.answer(
        "useradd", f"printf '%s\\n' '{line}' >>{machine.etc}/passwd; echo 'ada:!:1::::::' >>{machine.etc}/shadow"
    )
    machine.has("group", "ada:x:1001:")
    await machine.provider.apply(ada, NOTHING)
    seen = await machine.provider.observe([ada], NOTHING)
    assert seen[ada.key].exists
    await machine.provider.remove(ada.key, ada.body)
    assert machine.calls()[-1] == "userdel ada"


async def test_an_account_of_an_older_encoding_is_taken_over_and_given_back_as_it_was(machine: Machine) -> None:
    name = b"Ren\xe9".decode(errors="surrogateescape")
    machine.has_ada(name)
    machine.has("group", f"{OLD_GROUP}:x:1003:ada")
    ada = account("User", "ada", system=True, takeOver=True, comment="Ada", shell="/bin/bash")
    await machine.provider.apply(ada, NOTHING)
    await machine.provider.remove(ada.key, ada.body)
    given_back = machine.calls()[-1]
    assert given_back.startswith("usermod --home /home/ada --shell /bin/sh")
    assert f"--comment {name} " in given_back
    assert f"--groups {OLD_GROUP} " in given_back


async def test_an_account_is_given_back_without_the_groups_that_are_gone_by_then(machine: Machine) -> None:
    """usermod knows them no more, and refuses all of it for as long as they are away."""
    machine.has_ada()
    machine.has("group", "press:x:1003:ada", "video:x:1004:ada")
    ada = account("User", "ada", system=True, takeOver=True, shell="/bin/bash")
    await machine.provider.apply(ada, NOTHING)
    (machine.etc / "group").write_text("video:x:1004:ada\n")
    await machine.provider.remove(ada.key, ada.body)
    given_back = machine.calls()[-1]
    assert "--groups video " in given_back
    assert "--gid" not in given_back


@pytest.mark.parametrize("ends", ["exit 0", "echo \"usermod: user 'ada' does not exist\" >&2; exit 6"])
async def test_an_account_that_is_removed_while_it_is_changed_is_made_again_soon(machine: Machine, ends: str) -> None:
    ada = account("User", "ada", shell="/bin/bash")
    machine.answer("useradd", f"echo '{ADA.format(comment='')}' >>{machine.etc}/passwd")
    machine.has("group", "ada:x:1001:")
    machine.answer("usermod", f": >{machine.etc}/passwd; {ends}")  # by somebody else, before or after it
    with pytest.raises(TransientError, match="was removed by somebody"):
        await machine.provider.apply(ada, NOTHING)
