"""Files that are checksummed while they are written and while they are read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

from quiesce.archives.manifest import Compression, StoredFile
from quiesce.errors import DamagedArtifactError
from quiesce.files.durable import PRIVATE_FILE
from quiesce.files.reading import open_regular_file

CHUNK_BYTES: Final = 1 << 20
#: fast rather than small: copying should keep up with the disk
_LEVEL: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS

#: told how many more bytes were moved; may raise to stop
Progress: TypeAlias = Callable[[int], None]


def nobody(_moved_bytes: int) -> None:
    """Tell nobody."""


class FileWriter(io.RawIOBase):
    """A file of a draft. Hashing runs beside compressing and writing; closing makes it durable.

    Leaving its ``with`` block by an exception gives the file up.
    """

    def __init__(
        self, path: Path, compression: Compression, done: Callable[[StoredFile], None], progress: Progress
    ) -> None:
        self._path = path
        self._compression = compression
        self._done = done
        self._progress = progress
        self._file = open_private(path)
        self._hash = BackgroundHash()
        self._compressor = _compressor(compression)
        self._pending = bytearray()
        self._size_bytes = 0
        self._given_up = False

    def writable(self) -> bool:
        """Say yes: this is what makes it usable where a binary file is asked for."""
        return True

    def write(self, data: object) -> int:
        """Store *data*; return its length."""
        raw = bytes(data)  # type: ignore[call-overload]
        self._store(self._compressor.compress(raw) if self._compressor else raw)
        self._progress(len(raw))
        return len(raw)

    def close(self) -> None:
        """Make the file durable and enter it into the draft."""
        if self.closed:
            return
        try:
            if not self._given_up:
                self._finish()
        finally:
            self._hash.close()
            self._file.close()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up = kind is not None
        self.close()

    def _store(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        self._hash.update(data)
        self._size_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _finish(self) -> None:
        if self._compressor:
            self._store(self._compressor.flush())
        self._flush()
        os.fsync(self._file.fileno())
        self._done(
            StoredFile(
                path=self._path.name,
                size_bytes=self._size_bytes,
                sha256=self._hash.hexdigest(),
                compression=self._compression,
            )
        )


class FileReader(io.RawIOBase):
    """A stored file's plain content. What was read counts only once `check` has returned."""

    def __init__(
        self, path: Path, stored: StoredFile, progress: Progress, at_most: int | None = None
    ) -> None:
        """Give no more than *at_most* bytes, when that is known: what others wrote may grow without end.

        Raises:
            DamagedArtifactError: when the file is not there, or not as long as it was written.
        """
        self._path = path
        self._stored = stored
        self._progress = progress
        self._left = at_most
        self._file = _open_stored(path, stored)
        self._hash = BackgroundHash()
        self._size_bytes = 0
        self._decompressor = None if stored.compression is Compression.NONE else zlib.decompressobj(_GZIP)
        self._ready = bytearray()

    def readable(self) -> bool:
        """Say yes: this is what makes it usable where a binary file is asked for."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, fewer only at the end.

        Raises:
            DamagedArtifactError: when what is stored cannot be decompressed.
        """
        while (size < 0 or len(self._ready) < size) and (plain := self._plain()) is not None:
            self._ready += plain
            self._count(len(plain))
        taken = bytes(self._ready) if size < 0 else bytes(self._ready[:size])
        del self._ready[: len(taken)]
        return taken

    def readinto(self, buffer: object) -> int:
        """Fill *buffer*; return how much was filled."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def check(self) -> None:
        """Return when everything stored was read and is what was written.

        Raises:
            DamagedArtifactError: when it is not.
        """
        while self._next():
            self._ready.clear()
        require_same(self._path, self._stored, self._size_bytes, self._hash.hexdigest())

    def close(self) -> None:
        """Give the file back."""
        self._hash.close()
        self._file.close()
        super().close()

    def _count(self, plain_bytes: int) -> None:
        if self._left is not None:
            self._left -= plain_bytes
            if self._left < 0:
                raise _damaged(self._path, "it holds more than was written")

    def _next(self) -> bytes:
        data = self._file.read(CHUNK_BYTES)
        if data:
            self._hash.update(data)
            self._size_bytes += len(data)
            if self._size_bytes > self._stored.size_bytes:
                raise _damaged(self._path, "it is longer than it was written")
            self._progress(len(data))
        return data

    def _plain(self) -> bytes | None:
        """Return some more plain content, perhaps empty; None at the end."""
        if self._decompressor is None:
            return self._next() or None
        stored = self._decompressor.unconsumed_tail or self._next()
        if not stored:
            return None
        try:
            return self._decompressor.decompress(stored, CHUNK_BYTES)
        except zlib.error as error:
            raise _damaged(self._path, f"it cannot be decompressed ({error})") from error


class BackgroundHash:
    """SHA-256 in a thread of its own, one chunk behind, so that it overlaps with reading and writing."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._behind: Future[None] | None = None

    def update(self, data: bytes) -> None:
        """Take *data* in, waiting for what was given before."""
        self._wait()
        self._behind = self._thread.submit(self._hash.update, data)

    def hexdigest(self) -> str:
        """Return the checksum of everything taken in."""
        self._wait()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _wait(self) -> None:
        if self._behind is not None:
            self._behind.result()


def checksum(path: Path, progress: Progress = nobody, *, at_most: int | None = None) -> tuple[int, str]:
    """Return size and SHA-256 of *path*, which is read whole.

    Of what is longer than *at_most* bytes the checksum is empty: somebody may have made it end nowhere.
    """
    with open_regular_file(path) as file, contextlib.closing(BackgroundHash()) as hashed:
        size_bytes, found = 0, os.fstat(file.fileno()).st_size
        if at_most is not None and found > at_most:
            return found, ""
        for data in _chunks(file):
            size_bytes += len(data)
            if at_most is not None and size_bytes > at_most:  # it grew
                return size_bytes, ""
            hashed.update(data)
            progress(len(data))
        return size_bytes, hashed.hexdigest()


def damage_of(path: Path, stored: StoredFile, progress: Progress = nobody) -> str | None:
    """Tell the first thing that is wrong with *path*, reading all of it; None when nothing is."""
    try:
        return _difference(stored, *checksum(path, progress, at_most=stored.size_bytes))
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def absence_of(path: Path, stored: StoredFile) -> str | None:
    """Tell whether *path* is missing or of another size, reading nothing of it; None when it is there."""
    if path.is_symlink() or not path.is_file():
        return "it is missing"
    return _wrong_size(stored, path.stat().st_size)


def require_length(path: Path, stored: StoredFile) -> None:
    """Return when *path* is as long as it was written; it is not opened.

    Raises:
        DamagedArtifactError: when it is not.
    """
    if damage := absence_of(path, stored):
        raise _damaged(path, damage)


def require_same(path: Path, stored: StoredFile, size_bytes: int, sha256: str) -> None:
    """Return when size and SHA-256, found by reading all of *path*, are those that were written.

    Raises:
        DamagedArtifactError: when they are not.
    """
    if damage := _difference(stored, size_bytes, sha256):
        raise _damaged(path, damage)


def open_private(path: Path) -> io.FileIO:
    """Open a new, empty file for writing, private to the user; nobody's link is followed."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return io.FileIO(os.open(path, flags, PRIVATE_FILE), "w")


def _compressor(compression: Compression) -> zlib._Compress | None:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP) if compression is Compression.GZIP else None


def _open_stored(path: Path, stored: StoredFile) -> io.FileIO:
    try:
        file = open_regular_file(path)
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from error
    if damage := _wrong_size(stored, os.fstat(file.fileno()).st_size):
        file.close()
        raise _damaged(path, damage)
    return file


def _chunks(file: io.FileIO) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data


def _difference(stored: StoredFile, size_bytes: int, sha256: str) -> str | None:
    if wrong_size := _wrong_size(stored, size_bytes):
        return wrong_size
    if sha256 != stored.sha256:
        return "its checksum is not the one that was written"
    return None


def _wrong_size(stored: StoredFile, size_bytes: int) -> str | None:
    same = size_bytes == stored.size_bytes
    return None if same else f"it has {size_bytes} bytes, {stored.size_bytes} were written"


def _damaged(path: Path, damage: str) -> DamagedArtifactError:
    return DamagedArtifactError(f"{path} is damaged: {damage}")
