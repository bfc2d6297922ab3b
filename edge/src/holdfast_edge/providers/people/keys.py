"""SSH keys: lines of ours in a user's authorized_keys, every other line left as it is.

The file lies in a folder its user may write: it is reached by folder descriptors without following links, read only when
it is the user's (or root's) own plain file, and replaced whole.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.descent import Place, Roots
from holdfast_edge.providers.disk.ledger import Entry, Ledger
from holdfast_edge.providers.disk.replace import remove_name, replace_file, temporary_name
from holdfast_edge.providers.disk.watch import PathWatch
from holdfast_edge.providers.people import tables
from holdfast_edge.providers.people.tables import Person
from holdfast_edge.providers.port import Observed, Scope, Wake
from holdfast_protocol.errors import PermanentError, TransientError, WireError
from holdfast_protocol.kinds import ssh_key
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

MAX_FILE: Final = 1024 * 1024  # bytes
_FOLDER: Final = ".ssh"
_NAME: Final = "authorized_keys"
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class _File(msgspec.Struct, frozen=True):
    text: str
    mode: int
    uid: int


class SSHKeyProvider:
    """`state`: where the ledger lives, and what no user's home may be. The ledger knows a file by its path, and notes whose."""

    kinds: tuple[str, ...] = ("SSHKey",)

    def __init__(self, *, state: Path, etc: Path = Path("/etc")) -> None:
        self._state = state
        self._etc = etc
        self._ledger = Ledger(state)
        self._lock = threading.Lock()
        self._watch = PathWatch(lambda path: self._roots(path).folders(self._roots(path).place(path)))

    def check(self, resource: Resource, scope: Scope) -> None:
        _want(resource)

    async def prepare(self, resource: Resource, scope: Scope) -> None:
        """Nothing is fetched for these kinds."""

    async def observe(self, resources: Sequence[Resource], scope: Scope) -> Mapping[ResourceKey, Observed]:
        followed: set[str] = set()

        def look() -> dict[ResourceKey, Observed]:
            people = tables.read(self._etc).people
            return failures.each_seen(resources, lambda each: self._one(each, people, followed))

        found = await anyio.to_thread.run_sync(look)
        self._watch.follow(followed)
        return found

    async def apply(self, resource: Resource, scope: Scope) -> None:
        await anyio.to_thread.run_sync(self._apply, resource)

    async def remove(self, key: ResourceKey, body: dict[str, Any]) -> None:
        """By the ledger: the lines that carry our mark. The file goes when we made it and nothing else is in it."""
        await anyio.to_thread.run_sync(self._take_away, key, "")

    async def run_watch(self, wake: Wake) -> None:
        await self._watch.run(wake)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _one(self, resource: Resource, people: Mapping[str, Person], followed: set[str]) -> Observed:
        want = _want(resource)
        person = people.get(want.user)
        if person is None:
            return Observed(key=resource.key, exists=False, differences=(f"user: {want.user} is not there",))
        path = _path(person)
        followed.add(path)
        with _typed(path), self._parent(person) as folder:
            seen = None if folder is None else _read(folder, person)
        lines = [] if seen is None else ssh_key.ours(seen.text, ssh_key.mark_of(resource.key))
        differences = (
            [] if lines == list(want.lines) else [f"keys: {len(lines)} of ours there, not the {len(want.lines)} wanted"]
        )
        if seen is not None and (seen.mode & _NOT_OTHERS or seen.uid != person.uid):
            differences.append("file: not its user's alone")
        differences += [f"file: {other} has lines of ours" for other in self._paths(resource.key) if other != path]
        if path not in self._paths(resource.key):
            differences.append("file: not ours yet")
        status = {"file": path, "keys": len(lines)}
        return Observed(key=resource.key, exists=bool(lines), differences=tuple(differences), status=status)

    def _apply(self, resource: Resource) -> None:
        want = _want(resource)
        person = tables.read(self._etc).people.get(want.user)
        if person is None:
            hint = "let it depend on the User"
            raise TransientError(f"there is no user {want.user}", reason="UnknownAccount", hint=hint)
        path, mark = _path(person), ssh_key.mark_of(resource.key)
        with self._lock, _typed(path):
            with self._parent(person, make=False) as folder:
                missing = [os.path.dirname(path)] if folder is None else []
                seen = None if folder is None else _read(folder, person)
            self._claim(resource.key, path, [*missing, *([path] if seen is None else [])])
            with self._parent(person, make=True) as folder:
                assert folder is not None
                text = ssh_key.merged(seen.text if seen else "", mark, want.lines)
                mode = (seen.mode if seen else 0o600) & ~_NOT_OTHERS
                _write(folder, text, mode, person)
        self._take_away(resource.key, path)

    def _claim(self, key: ResourceKey, path: str, made: Sequence[str]) -> None:
        """Write the entry before the effect. A file with lines of several resources has an entry for each."""
        name = _entry(key, path)
        entry = self._ledger.entries.get(name)
        if entry is None:
            earlier = [each for other in self._of(path) for each in other.made]
            self._ledger.put(Entry(path=name, key=key, made=tuple(dict.fromkeys([*made, *earlier])), note=path))

    def _take_away(self, key: ResourceKey, keep: str) -> None:  # [inv: only-owned-things-are-removed]
        with self._lock:
            people = {_path(person): person for person in tables.read(self._etc).people.values()}
            for path in self._paths(key):
                if path == keep:
                    continue
                entry = self._ledger.entries[_entry(key, path)]
                person = people.get(path) or _of_file(path, people.values())
                if person is not None:  # a user that is gone has no keys to take away
                    with _typed(path):
                        self._strip(entry, person, ssh_key.mark_of(key))
                self._ledger.forget(entry.path)

    def _strip(self, entry: Entry, person: Person, mark: str) -> None:
        path = entry.note
        with self._parent(person) as folder:
            if folder is None or (seen := _read(folder, person)) is None:
                return
            remove_name(folder, temporary_name(_NAME))  # left by a kill
            text = ssh_key.merged(seen.text, mark, ())
            if text or path not in entry.made:
                if text != seen.text:
                    _write(folder, text, seen.mode, person)
                return
            remove_name(folder, _NAME)
            os.fsync(folder)
        parent = os.path.dirname(path)
        if parent in entry.made:
            roots = self._roots(path)
            with roots.parent(roots.place(parent)) as home, suppress(OSError):  # not empty: it is the user's by now
                os.rmdir(_FOLDER, dir_fd=home)

    @contextmanager
    def _parent(self, person: Person, *, make: bool = False) -> Iterator[int | None]:
        """Open the folder of a user's keys, None when it is not there; with `make` it is made, the user's own, mode 0700."""
        path = _path(person)
        roots = self._roots(path)
        place = roots.place(path)
        if make:
            _make_folder(roots, roots.place(os.path.dirname(path)), person)
        missing = bool(roots.missing(place)) if os.path.isdir(person.home) else True
        if missing and not make:
            yield None
            return
        with roots.parent(place) as folder:
            owner = os.fstat(folder).st_uid
            if owner not in {0, person.uid}:
                said = f"{os.path.dirname(path)} is neither root's nor {person.name}'s"
                raise PermanentError(said, reason="UnsafeFolder", hint="give it to its user")
            yield folder

    def _roots(self, path: str) -> Roots:
        return Roots([Path(path).parents[1]], [self._state])

    def _paths(self, key: ResourceKey) -> list[str]:
        return [entry.note for entry in list(self._ledger.entries.values()) if entry.key == key]

    def _of(self, path: str) -> list[Entry]:
        return [entry for entry in self._ledger.entries.values() if entry.note == path]


def _path(person: Person) -> str:
    return f"{os.path.normpath(person.home)}/{_FOLDER}/{_NAME}"


def _of_file(path: str, people: Iterable[Person]) -> Person | None:
    """Return whose file of keys it is, in a home that is nobody's any more; None when there is none, or its user is gone."""
    try:
        owner = os.lstat(path).st_uid
    except OSError:
        return None
    found = next((each for each in people if each.uid == owner), None)
    return None if found is None else msgspec.structs.replace(found, home=os.path.dirname(os.path.dirname(path)))


def _entry(key: ResourceKey, path: str) -> str:
    return f"{path}\n{key}"


def _make_folder(roots: Roots, place: Place, person: Person) -> None:
    if not os.path.isdir(person.home):
        hint = "make it, or let the User have a home"
        raise TransientError(f"{person.home}: {person.name} has no home", reason="NoHome", hint=hint)
    with roots.parent(place) as home:
        try:
            os.mkdir(_FOLDER, 0o700, dir_fd=home)
        except FileExistsError:
            return
        fd = os.open(_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
        try:
            if os.listdir(fd):  # its user may put another folder of root's in the place of the one just made
                said = f"{place.path} was another folder by the time it was made"
                raise PermanentError(said, reason="UnsafeFolder", hint="see what its user does there")
            os.fchown(fd, person.uid, person.gid)
            os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
        os.fsync(home)


def _read(folder: int, person: Person) -> _File | None:
    """Return the file, None when there is none. Never through a link, of the file system or a hard one: what is read is
    written again as the user's. PermanentError: NotAFile, UnsafeFile, TooLarge."""
    try:
        fd = os.open(_NAME, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise PermanentError(f"{_path(person)} is no file", reason="NotAFile", hint="move it away")
        if seen.st_nlink != 1 or seen.st_uid not in {0, person.uid}:
            said = f"{_path(person)} has other names, or another owner"
            raise PermanentError(said, reason="UnsafeFile", hint="move it away")
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise PermanentError(f"{_path(person)} has over {MAX_FILE} bytes", reason="TooLarge", hint="move it away")
    return _File(content.decode(errors="surrogateescape"), stat.S_IMODE(seen.st_mode), seen.st_uid)


def _write(folder: int, text: str, mode: int, person: Person) -> None:
    content = text.encode(errors="surrogateescape")
    replace_file(folder, _NAME, content, mode=mode & 0o777, uid=person.uid, gid=person.gid)


@contextmanager
def _typed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failures.provider_error(error, path) from error


def _want(resource: Resource) -> ssh_key.Wanted:
    try:
        return ssh_key.wanted(resource.spec, ssh_key.mark_of(resource.key))
    except WireError as error:
        raise failures.refusal(error) from None
