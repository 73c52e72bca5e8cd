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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

from quiesce.errors import DamagedArtifactError
from quiesce.repository import storage_errors

#: how much one buffer holds
PIECE: Final = 2 << 20
_BUFFERS: Final = 10

_Work = tuple[memoryview, memoryview]


class CheckedWriter:
    """A new private file that is written and checksummed while more data arrive.

    Take a buffer, fill it, give it with how much of it counts. Everything written but the last piece must
    be a multiple of 4096 bytes.
    """

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._path = path
        self._hash = hashlib.sha256()
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._to_hash: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._to_write: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        for _ in range(_BUFFERS):
            self._free.put(memoryview(mmap.mmap(-1, PIECE)))
        with storage_errors(f"write {path}"):
            self._descriptor = _create(path)
        self._threads = [
            threading.Thread(target=target, name=f"copy-{path.name}", daemon=True)
            for target in (self._keep_hashing, self._keep_writing)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def buffer(self) -> memoryview:
        """Return a buffer to fill; waits until one is free."""
        self._raise_failure()
        return self._free.get()

    def give(self, buffer: memoryview, length: int) -> None:
        """Write the first *length* bytes of a buffer got from `buffer`."""
        self.size_bytes += length
        self._to_hash.put((buffer, buffer[:length]))

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
        self._stop()
        self._raise_failure()
        with storage_errors(f"write {self._path}"):
            os.fsync(self._descriptor)
        return self._hash.hexdigest()

    def _stop(self) -> None:
        self._to_hash.put(None)
        for thread in self._threads:
            thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            with storage_errors(f"write {self._path}"):
                raise self._failure

    def _keep_hashing(self) -> None:
        while (work := self._to_hash.get()) is not None:
            if self._failure is None:
                self._hash.update(work[1])
            self._to_write.put(work)
        self._to_write.put(None)

    def _keep_writing(self) -> None:
        while (work := self._to_write.get()) is not None:
            try:
                if self._failure is None:
                    _write_all(self._descriptor, work[1])
            except OSError as error:
                self._failure = error
            finally:
                self._free.put(work[0])


def check_file(path: Path, size_bytes: int, sha256: str, progress: Callable[[int], None]) -> None:
    """Read all of *path* and return when it is what was written.

    Raises:
        DamagedArtifactError: when it is not.
    """
    digest, seen = hashlib.sha256(), 0
    try:
        for data in read_pieces(path):
            digest.update(data)
            seen += len(data)
            progress(len(data))
    except OSError as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error.strerror}") from error
    if seen != size_bytes:
        raise DamagedArtifactError(f"{path} is damaged: it has {seen} bytes, {size_bytes} were written")
    if digest.hexdigest() != sha256:
        raise DamagedArtifactError(f"{path} is damaged: its checksum is not the one that was written")


def read_pieces(path: Path) -> Iterator[memoryview]:
    """Return the content of *path* in pieces; each is valid until the next is asked for."""
    buffer = memoryview(mmap.mmap(-1, PIECE))
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(buffer):
            yield buffer[:length]


def _create(path: Path) -> int:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        path.unlink(missing_ok=True)
        return os.open(path, flags, 0o600)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
