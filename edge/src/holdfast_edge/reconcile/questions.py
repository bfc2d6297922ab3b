"""Questions: may this be changed now? Asked of files, commands and sockets; every answer is bounded in time and size.

What cannot be asked says "not now" for as long as such an answer is heard, except a workload that is not there: a file
or a socket that does not exist, or that nobody listens to, disturbs nobody.
"""

import contextlib
import errno
import os
import signal
import stat
import subprocess
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast_edge.core.deferral import MAX_TEXT, Ask
from holdfast_edge.core.observed import in_text
from holdfast_edge.reconcile.lookout import Lookout
from holdfast_protocol.wire.names import ResourceKey

NOT_NOW: Final = 75  # exit status, EX_TEMPFAIL of sysexits.h
MAX_ANSWER: Final = 1024  # bytes
MAX_NOTES: Final = 64  # files of a folder that are read
MAX_NAMED: Final = 100  # resources named in one
MAX_NOTE: Final = 4096  # bytes of one
REAPED: Final = 1.0  # seconds a command that was killed has to end
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class Note(msgspec.Struct, frozen=True):
    """A file that says "not now": why, and for which resources (none named: all)."""

    name: str
    reason: str
    resources: tuple[str, ...] = ()


def read_notes(folder: Path) -> tuple[Note, ...]:
    """Return what the files of a folder say: the first line is the reason, each other one a resource. Blocks."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except FileNotFoundError:
        return ()
    except OSError as error:
        return (Note(str(folder), f"{folder} cannot be read: {error.strerror}"),)
    found = [_note(name, _text(folder / name)) for name in names[:MAX_NOTES]]
    if len(names) > MAX_NOTES:
        found[-1] = Note(str(folder), f"{folder} has more than {MAX_NOTES} files: not all are read")
    return tuple(found)


def _note(name: str, text: str) -> Note:
    lines = [line.strip() for line in text.splitlines()]
    resources = tuple(line for line in lines[1:] if line)
    if len(resources) > MAX_NAMED or len(text.encode()) >= MAX_NOTE:  # who cannot be read whole means everything
        resources = ()
    name = in_text(name)
    return Note(name, lines[0][:MAX_TEXT] if lines and lines[0] else f"{name} is there", resources)


def _text(path: Path) -> str:
    """Return the beginning of a regular file, "" for anything else. That is told before it is opened: to open a watchdog arms
    it, and a pipe lets go whoever writes to it."""
    try:
        found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return ""
        with open(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            return file.read(MAX_NOTE).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(found)


async def put(ask: Ask, key: ResourceKey, *, within: float, commands: Collection[str], lookout: Lookout) -> str:
    """Return why a resource may not be changed now, "" when it may. `within` in seconds; `commands` may be started."""
    try:
        with anyio.fail_after(within):
            match ask.kind:
                case "file":
                    path = Path(ask.words[0])
                    return await lookout.look(path, partial(_seen, path), within=within)
                case "socket":
                    return await _asked(ask.words[0], key)
                case "exec":
                    return await _run(ask.words, key, commands)
    except TimeoutError:
        return f"no answer within {within:g} s: {ask.words[0]}"


def _seen(path: Path) -> str:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    first = _text(path).partition("\n")[0].strip()
    return first[:MAX_TEXT] or f"{path} is there"


async def _asked(path: str, key: ResourceKey) -> str:
    try:
        async with await anyio.connect_unix(path) as stream:
            await stream.send(f"may-change {key}\n".encode())
            line = await BufferedByteReceiveStream(stream).receive_until(b"\n", MAX_ANSWER)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ECONNREFUSED)
        return "" if gone else f"{path} cannot be asked: {error.strerror or error}"
    except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
        return f"{path} gave no answer of one line"
    text = line.decode(errors="replace").strip()
    return "" if text == "go" else (text[:MAX_TEXT] or f"{path} says no")


async def _run(words: tuple[str, ...], key: ResourceKey, commands: Collection[str]) -> str:
    if words[0] not in commands:
        return f"{words[0]} is not among the machine's not_now.commands"
    environment = {"PATH": PATH, "LC_ALL": "C", "HOLDFAST_RESOURCE": key}
    try:
        process = await anyio.open_process(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]} cannot be started: {error.strerror}"
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself a moment ago
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.move_on_after(REAPED, shield=True):  # one that the kernel does not let go ends when it can
                await process.wait()
    if status == 0:
        return ""
    return f"{words[0]} says not now" if status == NOT_NOW else f"{words[0]} ended with status {status}"
