"""Moving a disk's data at disk speed: reading, checksumming and writing go on side by side.

Buffers are few and used again. Where the file system allows it, data pass by the page cache, so that a
backup takes neither memory nor a long flush at its end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from quiesce.archives import StoredFile, require_same
from quiesce.errors import DamagedArtifactError
from quiesce.files.durable import storage_errors

#: how much one buffer holds
PIECE: Final = 2 << 20
_BUFFERS: Final = 12
#: how many pieces of a file are read before they are asked for, and by how many threads
_AHEAD: Final = 6
_READERS: Final = 4
_OPENED: Final = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferPart:
    """Where a stretch of a buffer goes."""

    #: position in the buffer
    begin: int
    length: int
    #: position in the file
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    buffer: memoryview
    length: int
    parts: Sequence[BufferPart]


class Mover:
    """Checksums buffers and writes parts of them to a file, on two threads, while more are filled.

    Take a buffer, fill it, give it. Where the file was opened by `open_direct`, parts begin, go and end at
    multiples of 4096 bytes.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._hash = hashlib.sha256()
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._to_hash: queue.SimpleQueue[_Filled | None] = queue.SimpleQueue()
        self._to_write: queue.SimpleQueue[_Filled | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        for _ in range(_BUFFERS):
            self._free.put(memoryview(mmap.mmap(-1, PIECE)))
        self._threads = [
            threading.Thread(target=target, name=f"copy-{name}", daemon=True)
            for target in (self._keep_hashing, self._keep_writing)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def buffer(self) -> memoryview:
        """Return a buffer of `PIECE` bytes to fill; waits until one is free."""
        self._raise_failure()
        return self._free.get()

    def give(self, buffer: memoryview, length: int, parts: Sequence[BufferPart]) -> None:
        """Checksum the first *length* bytes of a buffer got from `buffer`, and write *parts* of it."""
        self._to_hash.put(_Filled(buffer=buffer, length=length, parts=parts))

    def finish(self) -> str:
        """Return the SHA-256 of everything given, once all of it is written."""
        self.stop()
        self._raise_failure()
        return self._hash.hexdigest()

    def stop(self) -> None:
        """Let the threads end, once all that was given is written or has failed."""
        self._to_hash.put(None)
        for thread in self._threads:
            thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            with storage_errors(f"write {self._name}"):
                raise self._failure

    def _keep_hashing(self) -> None:
        while (filled := self._to_hash.get()) is not None:
            if self._failure is None:
                self._hash.update(filled.buffer[: filled.length])
            self._to_write.put(filled)
        self._to_write.put(None)

    def _keep_writing(self) -> None:
        while (filled := self._to_write.get()) is not None:
            try:
                for part in filled.parts if self._failure is None else ():
                    data = filled.buffer[part.begin : part.begin + part.length]
                    write_all(self._descriptor, data, part.place)
            except OSError as error:
                self._failure = error
            finally:
                self._free.put(filled.buffer)


class CheckedWriter:
    """A new private file that is written and checksummed while more data arrive.

    Take a buffer, fill it, give it with how much of it counts: always a multiple of 4096 bytes, which is all
    that a disk takes directly.
    """

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._path = path
        with storage_errors(f"write {path}"):
            path.unlink(missing_ok=True)
            self._descriptor = open_direct(path, os.O_CREAT | os.O_EXCL)
        self._mover = Mover(self._descriptor, str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mover.stop()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def buffer(self) -> memoryview:
        """Return a buffer to fill; waits until one is free."""
        return self._mover.buffer()

    def give(self, buffer: memoryview, length: int) -> None:
        """Write the first *length* bytes of a buffer got from `buffer`."""
        self._mover.give(buffer, length, [BufferPart(begin=0, length=length, place=self.size_bytes)])
        self.size_bytes += length

    def write(self, data: bytes) -> None:
        """Write *data*."""
        view = memoryview(data)
        for begin in range(0, len(data), PIECE):
            piece = view[begin : begin + PIECE]
            buffer = self.buffer()
            buffer[: len(piece)] = piece
            self.give(buffer, len(piece))

    def finish(self) -> str:
        """Make everything durable and return its SHA-256."""
        sha256 = self._mover.finish()
        with storage_errors(f"write {self._path}"):
            os.fsync(self._descriptor)
        return sha256


def check_file(path: Path, stored: StoredFile, progress: Callable[[int], None]) -> None:
    """Read all of *path*, from the disk itself where that can be, and return when it is what was written.

    Raises:
        DamagedArtifactError: when it is not.
    """
    digest, seen = hashlib.sha256(), 0
    free = [memoryview(mmap.mmap(-1, PIECE)) for _ in range(_AHEAD + 1)]
    for buffer, length in read_ahead(path, free.pop):
        digest.update(buffer[:length])
        free.append(buffer)
        seen += length
        progress(length)
    require_same(path, stored, seen, digest.hexdigest())


def read_ahead(path: Path, take: Callable[[], memoryview]) -> Iterator[tuple[memoryview, int]]:
    """Return the content of *path* in order: buffers, all but the last full, and how much is in each.

    *take* gives the buffers, of `PIECE` bytes; some are filled ahead. The data pass by the page cache where
    the file system can do that.

    Raises:
        DamagedArtifactError: when it cannot be read.
    """
    try:
        with _opened(path) as descriptor, ThreadPoolExecutor(_READERS) as readers:
            size_bytes = os.fstat(descriptor).st_size
            ahead: deque[Future[tuple[memoryview, int]]] = deque()
            for offset in range(0, size_bytes, PIECE):
                length = min(PIECE, size_bytes - offset)
                ahead.append(readers.submit(_read, descriptor, take(), offset, length))
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    except OSError as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # a file without a name is reached through a link of the kernel's own
    is_ours = path.parent == _OPENED
    descriptor = _open_direct(path, os.O_RDONLY | os.O_CLOEXEC | (0 if is_ours else os.O_NOFOLLOW))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, buffer: memoryview, offset: int, wanted: int) -> tuple[memoryview, int]:
    """Fill *buffer* with what follows *offset*, and return it and how much that is."""
    length = 0
    while length < wanted and (got := os.preadv(descriptor, [buffer[length:]], offset + length)):
        length += got
    return buffer, length


def open_direct(path: Path, flags: int = 0) -> int:
    """Return a descriptor whose writes pass by the page cache, where the file system can do that."""
    return _open_direct(path, flags | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def reopen_direct(descriptor: int) -> int:
    """Return another descriptor of the same file, as `open_direct` does; it needs no name."""
    return _open_direct(_OPENED / str(descriptor), os.O_WRONLY | os.O_CLOEXEC)


def _open_direct(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags & ~os.O_EXCL, 0o600)


def write_all(descriptor: int, data: memoryview, place: int) -> None:
    """Write *data* at *place*, however little of it the kernel takes at once."""
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written
