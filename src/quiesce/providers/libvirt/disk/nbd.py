"""Reads a disk that QEMU exports: which parts hold data or have changed, and the data itself.

A small client of the Network Block Device protocol (fixed newstyle, structured replies), over a Unix socket.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from quiesce.errors import RecoverableError

#: how much one buffer holds
PIECE: Final = 2 << 20
#: the context that tells holes and zeros from data
ALLOCATION: Final = "base:allocation"
#: how much one request asks for: for more than that QEMU takes fresh memory each time, which doubles its work
REQUEST_BYTES: Final = 512 << 10
#: how many buffers are being filled at once
DEPTH: Final = 3

_SERVER_MAGIC: Final = 0x4E42444D41474943
_OPTION_MAGIC: Final = 0x49484156454F5054
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_SIMPLE_REPLY_MAGIC: Final = 0x67446698
_STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

_OPT_GO: Final = 7
_OPT_STRUCTURED: Final = 8
_OPT_SET_META_CONTEXT: Final = 10
_REP_ACK: Final = 1
_REP_INFO: Final = 3
_REP_META_CONTEXT: Final = 4
_REP_ERROR: Final = 1 << 31

_CMD_READ: Final = 0
_CMD_DISCONNECT: Final = 2
_CMD_BLOCK_STATUS: Final = 7
_FLAG_ONE_CHUNK: Final = 1 << 2

_CHUNK_OFFSET_DATA: Final = 1
_CHUNK_OFFSET_HOLE: Final = 2
_CHUNK_BLOCK_STATUS: Final = 5
_CHUNK_ERROR: Final = 1 << 15
_CHUNK_DONE: Final = 1

_HOLE: Final = 1
_ZERO: Final = 2
#: the longest stretch that one block status request may ask about
_STATUS_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A stretch of a disk, and what the server says about it."""

    offset: int
    length: int
    flags: int

    @property
    def is_zero(self) -> bool:
        """Tell whether it reads as zeros (for extents of `ALLOCATION`)."""
        return bool(self.flags & _ZERO)

    @property
    def is_dirty(self) -> bool:
        """Tell whether it has changed (for extents of a dirty bitmap)."""
        return bool(self.flags & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """A buffer that is being filled, and the requests that fill it."""

    handles: range
    buffer: memoryview
    length: int


class NbdError(RecoverableError):
    """The export could not be read: its server went away or refused."""

    hint = "Look at the domain's log; the disk itself may be unreadable."


class NbdClient:
    """One connection to one export, for one thread."""

    def __init__(self, path: str, export: str, contexts: Iterable[str], timeout_s: float) -> None:
        self.size_bytes = 0
        self._path, self._export = path, export
        self._contexts: dict[int, str] = {}
        self._handle = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _limit_silence(self._socket, timeout_s)
        try:
            self._socket.connect(path)
            self._negotiate(export, tuple(contexts))
        except OSError as error:
            self._socket.close()
            raise NbdError(f"cannot read export {export} of {path}: {error}") from error
        except NbdError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self, timeout_s: float) -> NbdClient:
        """Return another connection to the same export."""
        return NbdClient(self._path, self._export, (), timeout_s)

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(NbdError):
            self._request(_CMD_DISCONNECT, 0, 0, 0)
        self._socket.close()

    def extents(self, context: str) -> Iterator[Extent]:
        """Return what *context* says about the whole disk, in order."""
        if context not in self._contexts.values():
            raise NbdError(f"the export has no {context!r}")
        offset = 0
        while offset < self.size_bytes:
            for length, flags in self._block_status(context, offset):
                yield Extent(offset=offset, length=length, flags=flags)
                offset += length

    def read(
        self, stretches: Iterable[tuple[int, int]], take: Callable[[], memoryview]
    ) -> Iterator[tuple[memoryview, int]]:
        """Return the data of *stretches* (offset, length) in order: buffers, and how much is in each.

        *take* gives the buffers to fill, of `PIECE` bytes. Several requests are on their way at once, and
        may be answered in any order.
        """
        waiting: dict[int, memoryview] = {}
        order: deque[_Filling] = deque()
        for offset, length in _parts(stretches, PIECE):
            if len(order) >= DEPTH:
                yield self._oldest(order, waiting)
            order.append(self._fill(take(), offset, length, waiting))
        while order:
            yield self._oldest(order, waiting)

    def _fill(self, buffer: memoryview, offset: int, length: int, waiting: dict[int, memoryview]) -> _Filling:
        """Ask for all that a buffer is to hold, in one go."""
        asked = bytearray()
        first = self._handle + 1
        for begin, size in _parts([(offset, length)], REQUEST_BYTES):
            asked += self._next_request(_CMD_READ, _FLAG_ONE_CHUNK, begin, size)
            waiting[self._handle] = buffer[begin - offset : begin - offset + size]
        self._send(asked)
        return _Filling(handles=range(first, self._handle + 1), buffer=buffer, length=length)

    def _oldest(self, order: deque[_Filling], waiting: dict[int, memoryview]) -> tuple[memoryview, int]:
        filling = order.popleft()
        for handle in filling.handles:
            while handle in waiting:
                self._receive_read(waiting)
        return filling.buffer, filling.length

    def _receive_read(self, waiting: dict[int, memoryview]) -> None:
        flags, kind, handle, length = self._reply()
        if kind == _CHUNK_OFFSET_DATA:
            self._receive(8)
            self._receive_into(waiting[handle][: length - 8])
        elif kind == _CHUNK_OFFSET_HOLE:
            _, zeros = struct.unpack(">QI", self._receive(length))
            waiting[handle][:zeros] = bytes(zeros)
        elif length:
            raise NbdError(f"the server answered a read with something else ({kind})")
        if flags & _CHUNK_DONE:
            del waiting[handle]

    def _block_status(self, context: str, offset: int) -> list[tuple[int, int]]:
        asked = min(self.size_bytes - offset, _STATUS_BYTES)
        self._request(_CMD_BLOCK_STATUS, 0, offset, asked)
        found: list[tuple[int, int]] = []
        flags = 0
        while not flags & _CHUNK_DONE:
            flags, kind, _, length = self._reply()
            data = self._receive(length)
            if kind == _CHUNK_BLOCK_STATUS and self._contexts[struct.unpack_from(">I", data)[0]] == context:
                found = list(struct.iter_unpack(">II", data[4:]))
        if not found:
            raise NbdError(f"the server says nothing about {context!r} at {offset}")
        return _trimmed(found, self.size_bytes - offset)

    def _reply(self) -> tuple[int, int, int, int]:
        """Return flags, kind, handle and length of the next chunk."""
        (magic,) = struct.unpack(">I", self._receive(4))
        if magic == _SIMPLE_REPLY_MAGIC:
            error, handle = struct.unpack(">IQ", self._receive(12))
            if error:
                raise NbdError(f"the server answers with error {error}")
            return _CHUNK_DONE, 0, handle, 0
        if magic != _STRUCTURED_REPLY_MAGIC:
            raise NbdError("the server answers out of step")
        flags, kind, handle, length = struct.unpack(">HHQI", self._receive(16))
        if kind & _CHUNK_ERROR:
            raise NbdError(f"the server answers with an error: {_error_text(self._receive(length))}")
        return flags, kind, handle, length

    def _negotiate(self, export: str, contexts: tuple[str, ...]) -> None:
        magic, option_magic, flags = struct.unpack(">QQH", self._receive(18))
        if magic != _SERVER_MAGIC or option_magic != _OPTION_MAGIC or not flags & 1:
            raise NbdError("what listens there does not speak the NBD protocol")
        self._send(struct.pack(">I", 3))
        self._option(_OPT_STRUCTURED, b"")
        name = export.encode()
        if contexts:
            queries = b"".join(struct.pack(">I", len(c)) + c.encode() for c in contexts)
            data = struct.pack(">I", len(name)) + name + struct.pack(">I", len(contexts)) + queries
            for kind, answer in self._option(_OPT_SET_META_CONTEXT, data):
                if kind == _REP_META_CONTEXT:
                    self._contexts[struct.unpack_from(">I", answer)[0]] = answer[4:].decode()
        for kind, answer in self._option(_OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0)):
            if kind == _REP_INFO and struct.unpack_from(">H", answer)[0] == 0:
                (self.size_bytes,) = struct.unpack_from(">Q", answer, 2)

    def _option(self, option: int, data: bytes) -> list[tuple[int, bytes]]:
        self._send(struct.pack(">QII", _OPTION_MAGIC, option, len(data)) + data)
        answers: list[tuple[int, bytes]] = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._receive(20))
            answer = self._receive(length)
            if magic != _OPTION_REPLY_MAGIC or kind & _REP_ERROR:
                raise NbdError(f"the server refuses: {answer.decode(errors='replace') or hex(kind)}")
            if kind == _REP_ACK:
                return answers
            answers.append((kind, answer))

    def _request(self, command: int, flags: int, offset: int, length: int) -> None:
        self._send(self._next_request(command, flags, offset, length))

    def _next_request(self, command: int, flags: int, offset: int, length: int) -> bytes:
        self._handle += 1
        return struct.pack(">IHHQQI", _REQUEST_MAGIC, flags, command, self._handle, offset, length)

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise NbdError(f"the connection to the export broke: {error}") from error

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        self._receive_into(memoryview(data))
        return bytes(data)

    def _receive_into(self, view: memoryview) -> None:
        try:
            while view:
                got = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
                if not got:
                    raise NbdError("the server closed the connection")
                view = view[got:]
        except OSError as error:
            raise NbdError(f"the connection to the export broke: {error}") from error


def _limit_silence(connection: socket.socket, limit_s: float) -> None:
    """Let the kernel give up after *limit_s*, which leaves it free to fill a whole buffer at once."""
    limit = struct.pack("@ll", int(limit_s), int(limit_s % 1 * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _parts(stretches: Iterable[tuple[int, int]], longest: int) -> Iterator[tuple[int, int]]:
    """Return *stretches* (offset, length) cut into parts of at most *longest* bytes."""
    for begin, length in stretches:
        for offset in range(begin, begin + length, longest):
            yield offset, min(longest, begin + length - offset)


def _trimmed(found: list[tuple[int, int]], room: int) -> list[tuple[int, int]]:
    """Return *found* without what lies behind the disk's end."""
    kept: list[tuple[int, int]] = []
    for length, flags in found:
        if room > 0:
            kept.append((min(length, room), flags))
            room -= length
    return kept


def _error_text(payload: bytes) -> str:
    number, length = struct.unpack_from(">IH", payload)
    return payload[6 : 6 + length].decode(errors="replace") or f"error {number}"
