"""Packages, groups, users and their keys as steps of the script: the machine has no files of its own for what they say."""

from typing import Final

from holdfast_hub.blueprint.leaving.folder import PRIVATE
from holdfast_hub.blueprint.leaving.machine import Asked, Writer
from holdfast_hub.blueprint.leaving.room import GROUPS, KEYS, PACKAGES, USERS, Room, identity
from holdfast_hub.blueprint.leaving.shell import call
from holdfast_protocol.kinds import file, group, package, ssh_key, user
from holdfast_protocol.wire.names import ResourceKey

_YES: Final = {True: "yes", False: "no", None: ""}


def _package(room: Room, asked: Asked) -> None:
    want = package.wanted(asked.spec, asked.name)
    purge = "purge" if want.purge else ""
    lines = [
        call("package", identity("package", item.name), item.name, item.version, item.state, purge)
        for item in want.items
    ]
    _step(room, PACKAGES, lines, "apt-get", "apt-mark", "dpkg-query", "grep")


def _group(room: Room, asked: Asked) -> None:
    want = group.wanted(asked.spec, asked.name)
    gid = "" if want.gid is None else str(want.gid)
    words = (want.name, gid, "yes" if want.system else "")
    _step(room, GROUPS, [call("group", identity("group", want.name), *words)], "getent", "groupadd", "groupdel")


def _user(room: Room, asked: Asked) -> None:
    want = user.wanted(asked.spec, asked.name)
    words: list[str] = []
    for option, value in (("--gid", want.group), ("-d", want.home), ("--shell", want.shell)):
        words += [option, value] if value else []
    words += [] if want.uid is None else ["--uid", str(want.uid)]
    words += [] if want.comment is None else ["--comment", want.comment]
    words += [] if want.groups is None else ["--groups", ",".join(want.groups)]
    head = (want.name, "yes" if want.system else "", "yes" if want.take_over else "", "yes" if want.remove_home else "")
    lines = [call("user", identity("user", want.name), *head, *words)]
    secret = ""
    if want.password_from is not None:
        namespace = asked.each.body["metadata"].get("namespace")
        key = ResourceKey(f"Secret/{f'{namespace}/' if namespace else ''}{want.password_from.secret}")
        if key not in room.scope:
            room.leave(
                asked.each, f"its password comes from Secret {want.password_from.secret}, which is not in this folder"
            )
            return
        hashed = user.password_hash(file.content_in(want.password_from, room.scope[key].body, key))
        secret = room.filing.put(f"secrets/passwords/{want.name}", hashed, PRIVATE)
    if secret or want.locked is not None:
        lines.append(call("password", want.name, secret, _YES[want.locked]))
    _step(room, USERS, lines, "getent", "useradd", "usermod", "userdel", "chpasswd", "cut", "tr")


def _ssh_key(room: Room, asked: Asked) -> None:
    want = ssh_key.wanted(asked.spec, f"ejected:{asked.name}")
    path = room.filing.line(f"authorized_keys/{asked.name}", "".join(f"{line}\n" for line in want.lines))
    line = call("keys", identity("keys", want.user, asked.name), want.user, path)
    _step(room, KEYS, [line], "getent", "runuser", "grep", "tail")


def _step(room: Room, rank: int, lines: list[str], *needs: str) -> None:
    room.people = True
    room.step(rank, lines, *needs)


PEOPLE: Final[dict[str, Writer]] = {"Package": _package, "Group": _group, "User": _user, "SSHKey": _ssh_key}
