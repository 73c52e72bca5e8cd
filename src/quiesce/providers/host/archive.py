"""Directory trees as tar archives that GNU tar and others understand, and back.

Nothing is lost: nanoseconds, owners, links, holes and extended attributes are kept in PAX headers.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Final

from quiesce.errors import DamagedArtifactError
from quiesce.providers.host.contents import data_ranges
from quiesce.providers.host.cuts import CutEntry, entries_of
from quiesce.providers.host.metadata import EntryMetadata

_BUFFER_BYTES: Final = 1 << 20
_ATTRIBUTE: Final = "SCHILY.xattr."
_ZEROS: Final = bytes(1 << 16)


def write_archive(cut: Path, out: IO[bytes] | io.RawIOBase, told: Callable[[int], None]) -> None:
    """Write the tree that was taken into *cut* to *out*; *told* hears how many bytes of data were read."""
    with tarfile.open(
        fileobj=_stream(out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES
    ) as tar:
        for entry in entries_of(cut):
            _write_member(tar, entry, told)


def read_archive(stored: IO[bytes] | io.RawIOBase, root: Path) -> None:
    """Make *root*, which does not exist, from an archive.

    Raises:
        DamagedArtifactError: when it is no archive of ours.
    """
    later: list[tuple[Path, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=_stream(stored), mode="r|", bufsize=_BUFFER_BYTES) as tar:
            for member in tar:
                path = _inside(root, member.name)
                _read_member(tar, member, path, root)
                if member.isdir():
                    later.append((path, member))
                elif not member.islnk():
                    _dress(path, member)
    except tarfile.TarError as error:
        raise DamagedArtifactError(f"the archive cannot be read: {error}") from error
    for path, member in reversed(later):
        _dress(path, member)


def _write_member(tar: tarfile.TarFile, entry: CutEntry, told: Callable[[int], None]) -> None:
    member = _header(entry)
    if member.type != tarfile.REGTYPE or entry.file is None:
        tar.addfile(member)
        return
    with entry.file.open("rb", buffering=0) as file:
        ranges, table = [(entry.offset, entry.size_bytes)], b""
        if not entry.packed:
            ranges = list(data_ranges(file.fileno(), entry.size_bytes))
        if sum(length for _, length in ranges) < entry.size_bytes:
            ranges, table = _with_holes(member, ranges, entry.size_bytes)
        member.size = len(table) + sum(length for _, length in ranges)
        tar.addfile(member, _Ranges(file, ranges, told, table))


def _header(entry: CutEntry) -> tarfile.TarInfo:
    metadata = entry.metadata
    member = tarfile.TarInfo(entry.name or ".")
    member.mode, member.uid, member.gid = stat.S_IMODE(metadata.mode), metadata.uid, metadata.gid
    member.type = _TYPES[stat.S_IFMT(metadata.mode)]
    if entry.link is not None:
        member.type, member.linkname = tarfile.LNKTYPE, entry.link
    if entry.target is not None:
        member.linkname = entry.target
    member.devmajor, member.devminor = os.major(entry.device), os.minor(entry.device)
    seconds, nanoseconds = divmod(metadata.mtime_ns, 10**9)
    member.mtime = seconds
    member.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09d}"} | {
        f"{_ATTRIBUTE}{key}": value.decode("utf-8", "surrogateescape")
        for key, value in metadata.attributes.items()
    }
    return member


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


class _Ranges(io.RawIOBase):
    """Reads the given parts of a file one after another, after a head."""

    def __init__(
        self,
        file: io.FileIO,
        ranges: list[tuple[int, int]],
        told: Callable[[int], None],
        head: bytes = b"",
    ) -> None:
        self._file = file
        self._ranges = iter(ranges)
        self._told = told
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
        self._told(len(data))
        return data


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if member.isdir():
        path.mkdir(mode=0o700)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        path.hardlink_to(_inside(root, member.linkname))
    elif member.isfifo():
        os.mkfifo(path, 0o600)
    elif member.isfile():
        _read_file(tar, member, path)
    elif os.geteuid() == 0:
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))


def _read_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None, "a regular file has content"  # noqa: S101
    with content, path.open("xb", buffering=0) as file:
        while data := content.read(_BUFFER_BYTES):
            _write_or_skip(file, data, skip=member.issparse())
        file.truncate(member.size)


def _write_or_skip(file: io.FileIO, data: bytes, *, skip: bool) -> None:
    for start in range(0, len(data), len(_ZEROS)):
        piece = data[start : start + len(_ZEROS)]
        if skip and piece == _ZEROS[: len(piece)]:
            file.seek(len(piece), os.SEEK_CUR)
        else:
            file.write(piece)


def _dress(path: Path, member: tarfile.TarInfo) -> None:
    if not os.path.lexists(path):
        return
    EntryMetadata(
        mode=member.mode | (stat.S_IFLNK if member.issym() else 0),
        uid=member.uid,
        gid=member.gid,
        mtime_ns=_nanoseconds(member.pax_headers.get("mtime", str(member.mtime))),
        attributes={
            key.removeprefix(_ATTRIBUTE): value.encode("utf-8", "surrogateescape")
            for key, value in member.pax_headers.items()
            if key.startswith(_ATTRIBUTE)
        },
    ).give_to(path)


def _nanoseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])


def _inside(root: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DamagedArtifactError(f"the archive names a path outside of it: {name!r}")
    return root / path


def _stream(file: IO[bytes] | io.RawIOBase) -> IO[bytes]:
    return file  # type: ignore[return-value]


_TYPES: Final = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}
