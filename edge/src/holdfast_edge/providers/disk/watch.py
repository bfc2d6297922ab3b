"""Waking when a path of ours changes, however it changes: written, replaced, removed, or its folders moved away.

Every folder on the way is watched for the one name that leads on, so a folder that goes and comes back is found again.
What cannot be watched (limits of the system) is left to the periodic look.
"""

from collections.abc import Callable, Iterable

import anyio
import anyio.to_thread

from holdfast_edge.providers.disk import inotify
from holdfast_edge.providers.disk.inotify import Inotify
from holdfast_protocol.errors import PermanentError

Folders = Callable[[str], Iterable[tuple[str, str]]]  # each folder on the way to a path, with the name that leads on
_SHAPE = inotify.CREATE | inotify.DELETE | inotify.MOVED | inotify.DELETE_SELF | inotify.MOVE_SELF
_CONTENT = _SHAPE | inotify.CLOSE_WRITE | inotify.ATTRIB
_GONE = inotify.IGNORED | inotify.DELETE_SELF | inotify.MOVE_SELF
_AGAIN_S = 60.0


class PathWatch:
    """`follow` says which paths; `run` wakes. Both belong to the event loop."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._paths: frozenset[str] = frozenset()
        self._changed = anyio.Event()

    def follow(self, paths: Iterable[str]) -> None:
        """Watch exactly these paths from now on."""
        wanted = frozenset(paths)
        if wanted != self._paths:
            self._paths = wanted
            self._changed.set()

    async def run(self, wake: Callable[[], None]) -> None:
        """Call `wake` for every change, until cancelled."""
        while True:
            try:
                source = Inotify()
            except OSError:  # too many instances on this machine for now
                await anyio.sleep(_AGAIN_S)
                continue
            try:
                await _Run(self, source, wake).run()
            finally:
                anyio.notify_closing(source.fd)
                source.close()

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed = anyio.Event()

    def names(self) -> dict[str, dict[str, bool]]:
        """Return per folder the names that matter, true for a name that is the path's own."""
        found: dict[str, dict[str, bool]] = {}
        for path in self._paths:
            try:
                steps = list(self._folders(path))
            except PermanentError:  # of ours once, and outside the folders of today: its own look says so
                continue
            for index, (folder, name) in enumerate(steps):
                last = index == len(steps) - 1
                names = found.setdefault(folder, {})
                names[name] = names.get(name, False) or last
        return found

    def reshape(self) -> None:
        self._changed.set()


class _Run:
    def __init__(self, watch: PathWatch, source: Inotify, wake: Callable[[], None]) -> None:
        self._watch = watch
        self._source = source
        self._wake = wake
        self._numbers: dict[str, int] = {}
        self._names: dict[int, dict[str, bool]] = {}

    async def run(self) -> None:
        self._watch.reshape()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_shaping)
            while True:
                await anyio.wait_readable(self._source.fd)
                self._take()

    async def _run_shaping(self) -> None:
        while True:
            await self._watch.changed()
            if await anyio.to_thread.run_sync(self._shape, self._watch.names()):
                self._wake()  # what changed between the look that led here and the new watch has no event

    def _shape(self, wanted: dict[str, dict[str, bool]]) -> bool:
        """Set the watches to what is wanted and there; true when a folder is watched that was not."""
        numbers: dict[str, int] = {}
        for folder, names in wanted.items():
            try:
                numbers[folder] = self._source.add(folder, _CONTENT if any(names.values()) else _SHAPE)
            except OSError:  # not there (its own folder tells when it comes), a link, or one watch too many
                continue
        for number in set(self._numbers.values()) - set(numbers.values()):
            self._source.remove(number)
        fresh = set(numbers.values()) - set(self._numbers.values())
        self._numbers = numbers
        self._names = {number: wanted[folder] for folder, number in numbers.items()}
        return bool(fresh)

    def _take(self) -> None:
        concerned = reshaped = False
        for event in self._source.read():
            names = self._names.get(event.watch)
            if event.mask & inotify.OVERFLOW:
                concerned = reshaped = True
            elif names is None:  # a watch made a moment ago and not entered yet, or one just removed
                concerned = concerned or not event.mask & inotify.IGNORED
            elif event.mask & _GONE:
                concerned = reshaped = True
            elif event.name in names:
                concerned = True
                reshaped = reshaped or not names[event.name] or bool(event.mask & inotify.IS_FOLDER)
        if reshaped:
            self._watch.reshape()
        if concerned:
            self._wake()
