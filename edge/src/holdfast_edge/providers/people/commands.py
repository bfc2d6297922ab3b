"""useradd, usermod, userdel, groupadd, groupdel, chpasswd: the one door to changes of accounts. Blocking."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast_edge.providers.disk.programs import Ended, Programs
from holdfast_edge.providers.people.tables import Person
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError
from holdfast_protocol.kinds import group, user

_WITHIN: Final = 60.0  # seconds
_LOCKED: Final = ("cannot lock", "try again later")
_STEPS: Final = {  # statuses of shadow's programs
    4: ("IdTaken", "another account has this number"),
    6: ("UnknownAccount", "a group or user it names is not there: let it depend on that one"),
    8: ("InUse", "it is logged in, or runs something"),
    9: ("NameTaken", "an account of this name is there"),
}


class Commands:
    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def add_user(self, want: user.Spec) -> None:
        """Make the account. Without `locked` or a password nobody can log in by password."""
        own = [*_said(want), *(["--gid", want.group] if want.group else [])]
        numbered = ["--uid", str(want.uid)] if want.uid is not None else []
        kind = ["--system"] if want.system else ["--create-home"]
        alone = [] if want.group else ["--user-group"]
        groups = ["--groups", ",".join(want.groups)] if want.groups else []
        self._run("useradd", [*kind, *alone, *numbered, *groups, *own, want.name])

    def change_user(self, name: str, arguments: Sequence[str]) -> None:
        if arguments:
            self._run("usermod", [*arguments, name])

    def set_password(self, name: str, hashed: str) -> None:
        """Set a crypt(5) hash; it travels on standard input, for argument lists are seen by everybody."""
        self._run("chpasswd", ["--encrypted"], stdin=f"{name}:{hashed}\n")

    def remove_user(self, name: str, *, home: bool) -> None:
        self._run("userdel", [*(["--remove"] if home else []), name], absent=6)

    def add_group(self, want: group.Spec) -> None:
        numbered = ["--gid", str(want.gid)] if want.gid is not None else []
        self._run("groupadd", [*(["--system"] if want.system else []), *numbered, want.name])

    def change_group(self, name: str, gid: int) -> None:
        self._run("groupmod", ["--gid", str(gid), name])

    def remove_group(self, name: str) -> None:
        self._run("groupdel", [name], absent=6)

    def repair_shadow(self) -> None:
        """Give every account without a line in shadow one: a program was killed between two files."""
        self._run("pwconv", [])

    def _run(self, program: str, arguments: Sequence[str], *, stdin: str = "", absent: int = 0) -> Ended:
        done = self._programs.run(program, arguments, within=_WITHIN, stdin=stdin, package="passwd")
        if done.status and done.status != absent:
            raise _typed(program, done)
        return done


def make_home(person: Person) -> None:
    """Make the home of an account of ours where it is lost: empty, mode 0700. What stands there already stays."""
    path = Path(person.home)
    try:
        path.mkdir(mode=0o700)
        os.chown(path, person.uid, person.gid, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror}", reason="NoHome", hint="make the folder above it") from error


def changes(want: user.Spec, now: Person, group_name: str, groups: frozenset[str]) -> dict[str, list[str]]:
    """Return what differs, each with the arguments of usermod that mend it."""
    found: dict[str, list[str]] = {}
    for field, wanted, has, option in (
        ("home", want.home, now.home, "--home"),
        ("shell", want.shell, now.shell, "--shell"),
        ("group", want.group, group_name, "--gid"),
    ):
        if wanted and wanted != has:
            found[f"{field}: is {has[:80] or 'none'}, wanted {wanted}"] = [option, wanted]
    if want.comment is not None and want.comment != now.comment:
        found["comment: differs"] = ["--comment", want.comment]
    if want.groups is not None and (asked := frozenset(want.groups) - {group_name}) != groups - {group_name}:
        has = ",".join(sorted(groups)) or "none"
        found[f"groups: is {has[:80]}, wanted {','.join(sorted(asked)) or 'none'}"] = [
            "--groups",
            ",".join(want.groups),
        ]
    if want.locked is True and not now.locked:
        found["locked: it is not"] = ["--lock", "--expiredate", "1"]
    if want.locked is False and now.locked:
        found["locked: it is"] = [
            "--expiredate",
            "",
            *(["--unlock"] if len((now.password or "").strip("!*")) > 1 else []),
        ]
    return found


def _said(want: user.Spec) -> list[str]:
    found = []
    for option, value in (("--home-dir", want.home), ("--shell", want.shell), ("--comment", want.comment or "")):
        if value:
            found += [option, value]
    return found


def _typed(program: str, done: Ended) -> ProviderError:
    text = f"{program}: {done.said}"
    if any(word in done.err for word in _LOCKED):
        return TransientError(text, reason="Busy", hint="another program changes accounts now")
    if "ermission denied" in done.err:
        return PermanentError(text, reason="NotPermitted", hint="the agent needs more rights here")
    reason, hint = _STEPS.get(done.status, ("Refused", ""))
    return (
        TransientError(text, reason=reason, hint=hint)
        if reason == "InUse"
        else PermanentError(text, reason=reason, hint=hint)
    )
