"""Users and groups of the machine's own files. One that was there before us is not ours unless the target says takeOver,
and then gets back what it had; one we made goes with its resource, its home stays unless the target says otherwise.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_edge.providers.disk.programs import Programs
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.people import commands, tables
from holdfast_edge.providers.people.commands import Commands
from holdfast_edge.providers.people.tables import Person, Tables
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError, WireError
from holdfast_protocol.kinds import file, group, user
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_USER: Final = "user/"  # begins what the ledger knows an account by
_GROUP: Final = "group/"


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ledger keeps of an account. `before` None: we made it."""

    before: Person | None = None
    groups: tuple[str, ...] = ()  # that listed it before
    remove_home: bool = False


class PeopleProvider:
    """`state`: where the ledger lives. `etc` and `programs` stand for the machine's."""

    kinds: tuple[str, ...] = ("User", "Group")

    def __init__(self, *, state: Path, etc: Path = Path("/etc"), programs: Programs | None = None) -> None:
        self._etc = etc
        self._ledger = Ledger(state)
        self._commands = Commands(programs or Programs())
        self._lock = threading.Lock()
        roots = Roots([etc])
        self._watch = PathWatch(lambda path: roots.folders(roots.place(path)))

    def check(self, resource: Resource, scope: Scope) -> None:
        want = _want(resource)
        if isinstance(want, user.Spec):
            _password(want, resource, scope)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        def look() -> dict[ResourceKey, Observed]:
            now = tables.read(self._etc)
            return failures.each_seen(resources, lambda each: self._one(each, now, scope))

        self._watch.follow(str(self._etc / name) for name in tables.FILES)
        return await anyio.to_thread.run_sync(look)

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource, scope)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: what we made goes, what was there is as it was. TransientError InUse while somebody is logged in."""
        await anyio.to_thread.run_sync(self._take_away, key, "")

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource, now: Tables, scope: Scope) -> Observed:
        want = _want(resource)
        left = [f"account: {each} is left over" for each in self._names(resource.key) if each != _entry_name(want)]
        if isinstance(want, group.Spec):
            return self._group(resource.key, want, now, left)
        person = now.people.get(want.name)
        if person is None:
            return Observed(key=resource.key, exists=False, differences=("account: is not there",))
        entry = self._ledger.entries.get(_entry_name(want))
        ours = entry is not None and entry.key == resource.key
        password = _password(want, resource, scope)
        differences = [] if ours else ["account: not ours yet"]
        differences += self._differences(want, person, now, _note(entry), password)
        status = {
            "uid": person.uid,
            "gid": person.gid,
            "home": person.home,
            "shell": person.shell,
            "groups": sorted(now.groups_of(person.name)),
            "locked": person.locked,
        }
        return Observed(key=resource.key, exists=ours, differences=(*differences, *left), status=status)

    def _group(self, key: ResourceKey, want: group.Spec, now: Tables, left: list[str]) -> Observed:
        gid = now.groups.get(want.name)
        if gid is None:
            return Observed(key=key, exists=False, differences=("group: is not there",))
        other = [f"gid: is {gid}, wanted {want.gid}"] if want.gid not in (None, gid) else []
        status = {"gid": gid, "members": sorted(now.members.get(want.name, ()))}
        return Observed(key=key, exists=True, differences=(*other, *left), status=status)

    def _differences(self, want: user.Spec, now: Person, all_: Tables, note: Note, password: str) -> list[str]:
        found = []
        if want.uid is not None and want.uid != now.uid:
            found.append(f"uid: is {now.uid}, wanted {want.uid}")
        if now.password is None:
            found.append("shadow: has no line for it")
        group_name = all_.name_of(now.gid)
        if not group_name:
            found.append("group: its own is not there")
        found += commands.changes(want, now, group_name, all_.groups_of(now.name))
        if password and (now.password or "").lstrip("!") != password:
            found.append("password: differs")
        if note.before is None and not want.system and not os.path.lexists(now.home):
            found.append("home: is not there")
        return found

    def _apply(self, resource: Resource, scope: Scope) -> None:
        with self._lock:
            want = _want(resource)
            entry = self._ledger.entries.get(_entry_name(want))
            if entry is not None and entry.key != resource.key and entry.key in scope.resources:
                raise PermanentError(f"{want.name} is already kept by {entry.key}", reason="NameTaken")
            if isinstance(want, group.Spec):
                self._apply_group(resource.key, want)
            else:
                self._apply_user(resource, want, _password(want, resource, scope))
        self._take_away(resource.key, _entry_name(want))

    def _apply_group(self, key: ResourceKey, want: group.Spec) -> None:
        gid = tables.read(self._etc).groups.get(want.name)
        path = _entry_name(want)
        if gid is None:
            entry = self._ledger.entries.get(path)
            self._ledger.put(Entry(path=path, key=key))
            with self._unless_made(path, entry, lambda now: want.name in now.groups):
                self._commands.add_group(want)
        elif want.gid is not None and want.gid != gid:
            if path not in self._ledger.entries or gid == 0:
                raise _not_ours(want.name, "give the number it has, or another name")
            self._commands.change_group(want.name, want.gid)

    def _apply_user(self, resource: Resource, want: user.Spec, password: str) -> None:
        path = _entry_name(want)
        now = tables.read(self._etc)
        person, entry = now.people.get(want.name), self._ledger.entries.get(path)
        if person is not None:
            _refuse_protected(person)
            if entry is None and not want.take_over:
                raise _not_ours(want.name, "takeOver: true makes it ours until its resource goes")
        note = _note(entry)
        if entry is None and person is not None:
            note = Note(person, tuple(sorted(now.groups_of(want.name))))
        note = msgspec.structs.replace(note, remove_home=want.remove_home)
        claimed = Entry(path=path, key=resource.key, note=_said(note))
        if claimed != entry:
            self._ledger.put(claimed)
        if person is None:
            with self._unless_made(path, entry, lambda now: want.name in now.people):
                self._commands.add_user(want)
        elif person.password is None:
            self._commands.repair_shadow()
        try:
            self._mend(want, note, password)
        except PermanentError as error:
            if want.name not in tables.read(self._etc).people:
                raise _removed(want.name) from error
            raise

    @contextmanager
    def _unless_made(self, path: str, before: Entry | None, made: Callable[[Tables], bool]) -> Iterator[None]:
        """Forget what was claimed when it could not be made: who makes it later is not us."""
        try:
            yield
        except ProviderError:
            if before is None and not made(tables.read(self._etc)):
                self._ledger.forget(path)
            raise

    def _mend(self, want: user.Spec, note: Note, password: str) -> None:
        now = tables.read(self._etc)
        person = _there(now, want.name)
        if want.uid is not None and want.uid != person.uid:
            hint = "its files would be nobody's: remove the user first, or give the number it has"
            raise PermanentError(f"{want.name} has number {person.uid}", reason="UidDiffers", hint=hint)
        if not now.name_of(person.gid) and not want.group:
            self._commands.add_group(group.Spec(name=want.name, gid=person.gid))
            now = tables.read(self._etc)
        if password and (person.password or "").lstrip("!") != password:
            self._commands.set_password(want.name, password)
            person = msgspec.structs.replace(person, password=password)
        steps = commands.changes(want, person, now.name_of(person.gid), now.groups_of(want.name))
        self._commands.change_user(want.name, [each for arguments in steps.values() for each in arguments])
        if note.before is None and not want.system:
            commands.make_home(_there(tables.read(self._etc), want.name))

    def _take_away(self, key: ResourceKey, keep: str) -> None:  # [inv: only-owned-things-are-removed]
        with self._lock:
            for path in self._names(key):
                if path == keep:
                    continue
                kind, _, name = path.partition("/")
                if kind == "group":
                    self._commands.remove_group(name)
                else:
                    self._give_back(name, _note(self._ledger.entries[path]))
                self._ledger.forget(path)

    def _give_back(self, name: str, note: Note) -> None:
        all_ = tables.read(self._etc)
        now = all_.people.get(name)
        if now is None:
            return
        _refuse_protected(now)
        if note.before is None:
            self._commands.remove_user(name, home=note.remove_home)
            return
        before = note.before
        groups = ",".join(each for each in note.groups if each in all_.groups)  # of one that is gone nobody can be
        self._commands.change_user(
            name,
            [
                *("--home", before.home, "--shell", before.shell, "--comment", before.comment),
                *(("--gid", str(before.gid)) if all_.name_of(before.gid) else ()),
                *("--groups", groups, "--expiredate", before.expires),
            ],
        )
        if before.password is not None and before.password != now.password:
            self._commands.set_password(name, before.password)

    def _names(self, key: ResourceKey) -> list[str]:
        return [path for path, entry in list(self._ledger.entries.items()) if entry.key == key]


def _entry_name(want: user.Spec | group.Spec) -> str:
    return f"{_GROUP if isinstance(want, group.Spec) else _USER}{want.name}"


def _note(entry: Entry | None) -> Note:
    try:
        return msgspec.convert(json.loads(entry.note), Note) if entry is not None and entry.note else Note()
    except (ValueError, msgspec.ValidationError):
        return Note()  # of another version


def _said(note: Note) -> str:
    """Return a note as the ledger keeps it. Not by msgspec: names of an older encoding are no text to it."""
    return json.dumps(msgspec.to_builtins(note))


def _refuse_protected(person: Person) -> None:  # [inv: agent-is-never-its-own-casualty]
    if person.uid in {0, os.geteuid()}:
        what = "root" if person.uid == 0 else "the agent"
        raise PermanentError(f"{person.name} has the number of {what}", reason="Protected", hint="use another account")


def _there(now: Tables, name: str) -> Person:
    """Return the account; TransientError when somebody has removed it since we began."""
    if (person := now.people.get(name)) is None:
        raise _removed(name)
    return person


def _removed(name: str) -> TransientError:
    hint = "it is made again"
    return TransientError(f"{name} was removed by somebody while it was being changed", reason="Removed", hint=hint)


def _not_ours(name: str, hint: str) -> PermanentError:
    return PermanentError(f"{name} was there before", reason="NotOurs", hint=hint)


def _password(want: user.Spec, resource: Resource, scope: Scope) -> str:
    """Return the hash the target says, "" when it says none. PermanentError: MissingReference, InvalidSpec."""
    if want.password_from is None:
        return ""
    namespace = resource.body["metadata"].get("namespace")
    key = ResourceKey("/".join(part for part in ("Secret", namespace, want.password_from.secret) if part))
    secret = scope.resources.get(key)
    if secret is None:
        hint = f"add {key} to the blueprint"
        raise PermanentError(f"spec.passwordFrom: {key} is not in the target", reason="MissingReference", hint=hint)
    try:
        return user.password_hash(file.content_in(want.password_from, secret.body, key))
    except WireError as error:
        raise failures.refusal(error) from None


def _want(resource: Resource) -> user.Spec | group.Spec:
    try:
        if resource.kind == "Group":
            return group.wanted(resource.spec, resource.name)
        return user.wanted(resource.spec, resource.name)
    except WireError as error:
        raise failures.refusal(error) from None
