"""Directory trees as tar archives that GNU tar and others understand, and back.

Beside the archive lies the index of the cut. It says byte for byte what tar cannot hold (names of extended
attributes with ``=``, names that are no text, times before 1970); the content comes from the archive, in the
same order.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from quiesce.errors import DamagedArtifactError
from quiesce.files.content import Progress, data_ranges
from quiesce.files.descriptors import READING
from quiesce.files.metadata import Allowed
from quiesce.files.problems import TreeProblems
from quiesce.files.writing import TreeFileWriter, TreeWriter, make_directory
from quiesce.providers.host.access_lists import archived
from quiesce.providers.host.cuts import INDEX, CutEntry, entries_of, open_content, parsed, write_plain

_BUFFER_BYTES: Final = 1 << 20
_ATTRIBUTE: Final = "SCHILY.xattr."
#: of a path, and every attribute that a file can have
_LARGEST_HEADER: Final = 4 << 20
#: of a file with holes, whose table is read into memory; with more of them it is stored without holes
_MOST_RANGES: Final = 1 << 20
_HEADERS: Final = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_Stream = IO[bytes] | io.RawIOBase


def write_archive(raw: int, out: _Stream, progress: Progress) -> None:
    """Write the tree that was taken into *raw* to *out*; *progress* hears how many bytes were read."""
    with tarfile.open(
        fileobj=_stream(out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES
    ) as tar:
        for entry in entries_of(raw):
            _write_member(tar, raw, entry, progress)


def write_index(raw: int, out: _Stream) -> None:
    """Write the index of the tree that was taken into *raw* to *out*."""
    with os.fdopen(os.open(INDEX, READING | os.O_NOFOLLOW, dir_fd=raw), "rb") as index:
        shutil.copyfileobj(index, _stream(out), _BUFFER_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSize:
    """How much a tree held when it was cut: no more is believed, whoever wrote its archive since."""

    entries: int
    size_bytes: int


def read_archive(
    index: _Stream,
    stored: _Stream,
    directory: int,
    name: bytes,
    allowed: Allowed,
    *,
    at_most: TreeSize | None = None,
) -> TreeProblems:
    """Make the new directory *name* in *directory* from an index and an archive.

    Raises:
        DamagedArtifactError: when they are no archive of ours.
    """
    root = make_directory(directory, name)
    try:
        writer = TreeWriter(root, allowed=allowed)
        with tarfile.open(fileobj=_stream(stored), mode="r|", bufsize=_BUFFER_BYTES, tarinfo=_Member) as tar:
            members = (member for member in tar if member.isfile())
            for entry in _within(at_most, read_entries(index)):
                if entry.has_content:
                    _read_file(tar, next(members, None), entry, writer)
                else:
                    write_plain(writer, entry)
            if next(members, None) is not None:
                raise DamagedArtifactError("the archive holds more than its index says")
        return writer.finish()
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"the archive cannot be read: {error}") from error
    finally:
        os.close(root)


def read_entries(index: _Stream) -> Iterator[CutEntry]:
    """Yield the entries of an index."""
    return parsed(io.TextIOWrapper(io.BufferedReader(_Readable(index)), "utf-8"))


def read_one_file(
    index: _Stream, stored: _Stream, path: bytes, target: int, *, at_most: TreeSize | None = None
) -> None:
    """Write the content of *path*, which the index has, to the open, empty file *target*.

    Raises:
        DamagedArtifactError: when they are no archive of ours, or hold no such file.
    """
    try:
        with tarfile.open(fileobj=_stream(stored), mode="r|", bufsize=_BUFFER_BYTES, tarinfo=_Member) as tar:
            members = (member for member in tar if member.isfile())
            for entry in _within(at_most, read_entries(index)):
                member = next(members, None) if entry.has_content else None
                if entry.path == path:
                    file = TreeFileWriter(target, entry.size_bytes)
                    _read_content(tar, member, entry, file)
                    file.finish()
                    return
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"the archive cannot be read: {error}") from error
    raise DamagedArtifactError(f"the archive does not hold {os.fsdecode(path)!r}")


def _within(at_most: TreeSize | None, entries: Iterator[CutEntry]) -> Iterator[CutEntry]:
    if at_most is None:
        yield from entries
        return
    count = size_bytes = 0
    for entry in entries:
        count, size_bytes = count + 1, size_bytes + entry.size_bytes * entry.has_content
        if count > at_most.entries or size_bytes > at_most.size_bytes:
            raise DamagedArtifactError("the archive's index names more than was cut")
        yield entry


def _write_member(tar: tarfile.TarFile, raw: int, entry: CutEntry, progress: Progress) -> None:
    member = _header(entry)
    if not entry.has_content:
        tar.addfile(member)
        return
    with os.fdopen(open_content(raw, entry), "rb", buffering=0) as file:
        assert isinstance(file, io.FileIO), "an unbuffered file is one"  # noqa: S101
        ranges, table = [(entry.offset or 0, entry.size_bytes)], b""
        if entry.big is not None:
            ranges = list(data_ranges(file.fileno(), entry.size_bytes))
        if len(ranges) >= _MOST_RANGES:
            ranges = [(0, entry.size_bytes)]
        if sum(length for _, length in ranges) < entry.size_bytes:
            ranges, table = _with_holes(member, ranges, entry.size_bytes)
        member.size = len(table) + sum(length for _, length in ranges)
        tar.addfile(member, _Ranges(file, ranges, progress, table))


def _header(entry: CutEntry) -> tarfile.TarInfo:
    metadata = entry.metadata
    member = tarfile.TarInfo(os.fsdecode(entry.path) or ".")
    member.mode, member.uid, member.gid = stat.S_IMODE(metadata.mode), metadata.uid, metadata.gid
    member.type = _TYPES[stat.S_IFMT(metadata.mode)]
    if entry.link is not None:
        member.type, member.linkname = tarfile.LNKTYPE, os.fsdecode(entry.link)
    if entry.target is not None:
        member.linkname = os.fsdecode(entry.target)
    member.devmajor, member.devminor = os.major(entry.device), os.minor(entry.device)
    member.mtime = metadata.mtime_ns // 10**9
    times = {"mtime": _decimal(metadata.mtime_ns)}
    member.pax_headers = (
        times
        | archived(metadata.attributes)
        | {
            f"{_ATTRIBUTE}{os.fsdecode(key)}": value.decode("utf-8", "surrogateescape")
            for key, value in metadata.attributes.items()
            if _fits_tar(key)
        }
    )
    return member


def _fits_tar(name: bytes) -> bool:
    """Tell whether an attribute's name can be a key of a PAX header; the others are in the index alone."""
    return b"=" not in name and name.isascii()


def _decimal(nanoseconds: int) -> str:
    seconds, fraction = divmod(abs(nanoseconds), 10**9)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}.{fraction:09d}"


def _with_holes(
    member: tarfile.TarInfo, ranges: list[tuple[int, int]], size_bytes: int
) -> tuple[list[tuple[int, int]], bytes]:
    """Mark *member* as sparse (GNU format 1.0); return its ranges and the table that precedes the data."""
    if not ranges or sum(ranges[-1]) < size_bytes:
        ranges = [*ranges, (size_bytes, 0)]
    figures = [len(ranges), *(figure for pair in ranges for figure in pair)]
    table = "".join(f"{figure}\n" for figure in figures).encode()
    member.pax_headers = {
        **member.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(size_bytes),
    }
    return ranges, table + bytes(-len(table) % tarfile.BLOCKSIZE)


class _Member(tarfile.TarInfo):
    """A member whose headers, which are read into memory, are of bounded size."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file with holes in a form that is not ours")
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(  # what TarInfo itself does has no bound
        self, following: tarfile.TarInfo, _headers: object, archive: tarfile.TarFile
    ) -> None:
        numbers = _table_of(archive)
        count = next(numbers)
        if not 0 <= count <= _MOST_RANGES:
            raise tarfile.ReadError(f"a file of {count} parts")
        table = [next(numbers) for _ in range(2 * count)]
        following.offset_data = archive.fileobj.tell()
        following.sparse = list(zip(table[::2], table[1::2], strict=True))  # type: ignore[assignment]


def _table_of(archive: tarfile.TarFile) -> Iterator[int]:
    """Yield the numbers of a table of holes, of which whole blocks are read."""
    rest = b""
    while True:
        line, end, rest = rest.partition(b"\n")
        if end:
            yield int(line)
            continue
        block = archive.fileobj.read(tarfile.BLOCKSIZE)
        if len(line) > tarfile.BLOCKSIZE or not block:
            raise tarfile.ReadError("a table of holes that does not end")
        rest = line + block


class _Ranges(io.RawIOBase):
    """Reads the given parts of a file one after another, after a head."""

    def __init__(
        self,
        file: io.FileIO,
        ranges: list[tuple[int, int]],
        progress: Progress,
        head: bytes = b"",
    ) -> None:
        self._file = file
        self._ranges = iter(ranges)
        self._progress = progress
        self._ready = head
        self._offset, self._left = 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._ready) < size and (data := self._more(size - len(self._ready))):
            self._ready += data
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def _more(self, size: int) -> bytes:
        while self._left == 0:
            following = next(self._ranges, None)
            if following is None:
                return b""
            self._offset, self._left = following
        data = os.pread(self._file.fileno(), min(self._left, max(size, _BUFFER_BYTES)), self._offset)
        if not data:
            raise OSError("a file of the cut became shorter while it was archived")
        self._offset += len(data)
        self._left -= len(data)
        self._progress(len(data))
        return data


class _Readable(io.RawIOBase):
    """A stream that has only ``read``, for who needs ``readinto``."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view)) or b""
        view[: len(data)] = data
        return len(data)


def _read_file(
    tar: tarfile.TarFile, member: tarfile.TarInfo | None, entry: CutEntry, writer: TreeWriter
) -> None:
    _require_member(member, entry)
    with writer.file(entry.path, entry.metadata, entry.size_bytes) as file:
        _read_content(tar, member, entry, file)


def _read_content(
    tar: tarfile.TarFile, member: tarfile.TarInfo | None, entry: CutEntry, file: TreeFileWriter
) -> None:
    found = _require_member(member, entry)
    content = tar.extractfile(found)
    if content is None:
        raise tarfile.ReadError("a file without content")
    with content:
        data: Any = found.sparse
        for offset, length in data or [(0, entry.size_bytes)]:
            _copy_range(content, offset, length, entry.size_bytes, file)
        file.skip_to(entry.size_bytes)


def _require_member(member: tarfile.TarInfo | None, entry: CutEntry) -> tarfile.TarInfo:
    if member is None or member.size != entry.size_bytes:
        raise DamagedArtifactError(f"the archive does not hold {os.fsdecode(entry.path)!r} as its index says")
    return member


def _copy_range(content: Any, offset: int, length: int, size_bytes: int, file: TreeFileWriter) -> None:
    """Copy a part that holds data; what is before it, and after the last, is a hole, which nobody reads."""
    if length < 0 or offset + length > size_bytes:
        raise tarfile.ReadError("a part of a file lies outside of it")
    file.skip_to(offset)
    plain = content.raw  # what reads ahead would go back, and a stream cannot
    plain.seek(offset)
    while length > 0:
        data = plain.read(min(length, _BUFFER_BYTES))
        if not data:
            raise tarfile.ReadError("a file ends before its end")
        file.write(data)
        length -= len(data)


def _stream(file: _Stream) -> IO[bytes]:
    return file  # type: ignore[return-value]


_TYPES: Final = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}
