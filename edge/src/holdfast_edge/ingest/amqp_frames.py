"""What an AMQP 0-9-1 broker sends, on its way to the client library: bodies are cut to what can be a reading, and while as
many bytes are held as may be, nothing more is read."""

import asyncio
import struct
from typing import Final

import anyio

from holdfast_protocol.mapping.formats import MAX_PAYLOAD

CUT: Final = MAX_PAYLOAD + 1  # bytes of a body that go on: one that has them all was too large
MOST: Final = 4 * 1024 * 1024  # bytes of bodies that are held, but for the last
LARGEST: Final = 1024 * 1024  # bytes of a frame that is no body
AT_ONCE: Final = 64 * 1024  # bytes read at once
PATIENCE: Final = 5.0  # seconds without room, after which the library is told that the broker is there
_FRAME: Final = struct.Struct(">BHI")  # type, channel, bytes of content
_SIZE: Final = struct.Struct(">Q")
_HEAD: Final = 19  # bytes of a header's frame up to the end of the body's size
_END: Final = b"\xce"  # of every frame
_HEADER: Final = 2
_BODY: Final = 3
_HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"


class Room:
    """How many bytes of bodies are held on this side."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._held = 0
        self._changed = asyncio.Event()
        self.is_left = False

    @property
    def is_full(self) -> bool:
        return self._held >= self._most and not self.is_left

    def take(self, size: int) -> None:
        self._held += size

    def give(self, size: int) -> None:
        """Say that so many bytes are held no more."""
        self._held -= size
        self._changed.set()

    def leave(self) -> None:
        """Nothing more is of use: what still comes is read and let go."""
        self.is_left = True
        self._changed.set()

    async def wait(self, within: float) -> bool:
        """Return whether there is room, once there is or after so many seconds."""
        with anyio.move_on_after(within):
            while self.is_full:
                self._changed.clear()
                await self._changed.wait()
        return not self.is_full


class Frames:
    """A stream of bytes as the library reads it: as those of `reader`, bodies cut. Heartbeats are made up while nothing is
    read for want of room: the library would take the broker for dead."""

    def __init__(self, reader: asyncio.StreamReader, room: Room) -> None:
        self._reader = reader
        self._room = room
        self._ready = b""  # whole frames, of which what is before `_at` was read
        self._at = 0
        self._rest = b""  # a frame that is not whole
        self._over = 0  # bytes that come next and are let go
        self._left: dict[int, int] = {}  # by channel, bytes of a body that still go on

    def at_eof(self) -> bool:
        return self._at == len(self._ready) and not self._rest and self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        """Return so many bytes of one frame. Raises IncompleteReadError, ConnectionError for what is no frame."""
        while len(self._ready) - self._at < size:
            self._ready, self._at = self._ready[self._at :] + await self._more(), 0
        self._at += size
        return self._ready[self._at - size : self._at]

    async def read(self) -> bytes:
        return self._ready[self._at :]

    async def _more(self) -> bytes:
        if self._room.is_full and not await self._room.wait(PATIENCE):
            return _HEARTBEAT
        data = await self._reader.read(AT_ONCE)
        if not data:
            raise asyncio.IncompleteReadError(self._rest, None)
        return self._cut(self._rest + data if self._rest else data)

    def _cut(self, data: bytes) -> bytes:
        """Return the whole frames of all that was not handed on yet, and keep the rest."""
        found: list[bytes] = []
        at = 0
        while True:
            gone = min(self._over, len(data) - at)
            at, self._over = at + gone, self._over - gone
            if len(data) - at < _FRAME.size or self._over:
                break
            kind, channel, size = _FRAME.unpack_from(data, at)
            start = at + _FRAME.size
            if data.startswith(b"AMQP", at):  # the answer to a version it does not speak
                found.append(data[at:])
                at = len(data)
            elif kind == _BODY:
                left = self._left.get(channel, 0)
                kept = min(size, left)
                if start + kept > len(data):
                    break
                self._left[channel] = left - kept
                if kept:
                    found += (_FRAME.pack(_BODY, channel, kept), data[start : start + kept], _END)
                at, self._over = start + kept, size - kept + len(_END)
            elif size > LARGEST:
                raise ConnectionError(f"a frame of {size} bytes")
            else:
                end = start + size + len(_END)
                if end > len(data):
                    break
                found.append(self._header(data[at:end], channel) if kind == _HEADER else data[at:end])
                at = end
        self._rest = data[at:]
        return b"".join(found)

    def _header(self, frame: bytes, channel: int) -> bytes:
        """Return the header of a body as long as what goes on of it."""
        if len(frame) < _HEAD:
            return frame
        (size,) = _SIZE.unpack_from(frame, _HEAD - _SIZE.size)
        self._left[channel] = kept = 0 if self._room.is_left else min(size, CUT)
        self._room.take(kept)
        return frame[: _HEAD - _SIZE.size] + _SIZE.pack(kept) + frame[_HEAD:]
