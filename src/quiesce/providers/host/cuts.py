"""The cut of a tree as it lies on the disk, and the tree that is built from it again, after the thaw.

Making a file costs far more than reading one, so small files lie in one *pack* one after the other; big
ones are files, which share their data with the original where the file system can. An *index* says what is
where, byte for byte. What was taken after that, within the window, stands in a list of *changes*.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, Final

from quiesce.errors import DamagedArtifactError, NonRecoverableError
from quiesce.files.content import Progress
from quiesce.files.descriptors import READING, open_below, open_regular
from quiesce.files.metadata import EVERYTHING, Allowed, Metadata
from quiesce.files.problems import TreeProblems
from quiesce.files.removal import remove_tree
from quiesce.files.walking import Entry
from quiesce.files.writing import TreeWriter, make_directory

#: up to here reading and writing cost less than making a file
SMALL_BYTES: Final = 256 << 10
INDEX: Final = b"index"
CHANGES: Final = b"changes"
PACK: Final = b"pack"
#: of a line of changes: a path that is no more, with all that was below it
GONE: Final = "gone"
_NEW_INDEX: Final = b"index.new"
_BLOCK_BYTES: Final = 512
#: of an index: a path, and every attribute that a file can have
_LONGEST_LINE: Final = 4 << 20
#: deeper entries are left out: programs reach 4,096 bytes, and the list of a tree grows with each path in it
LONGEST_PATH: Final = 16 << 10
_LARGEST_ID: Final = 2**32 - 1
_LARGEST_SIZE: Final = 2**63 - 1
_LARGEST_TIME_NS: Final = 10**9 * 2**62
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEntry:
    """One entry of a cut."""

    #: below the tree's root, whose own is empty
    path: bytes
    metadata: Metadata
    #: another name of the file that this is a hard link to
    link: bytes | None = None
    #: what a symbolic link leads to
    target: bytes | None = None
    device: int = 0
    size_bytes: int = 0
    #: where in the pack the content begins; None of a file of its own
    offset: int | None = None
    #: the number of the file that holds the content
    big: int | None = None

    @property
    def has_content(self) -> bool:
        """Whether it is a regular file, and no other name of one."""
        return stat.S_ISREG(self.metadata.mode) and self.link is None


def is_reasonable(entry: Entry) -> bool:
    """Tell whether the path is one that programs can use; else it is left out with all that is below."""
    return len(entry.path) <= LONGEST_PATH


def data_bytes(status: os.stat_result) -> int:
    """Return how much of a file is data, not holes."""
    return min(status.st_size, status.st_blocks * _BLOCK_BYTES)


def is_packed(status: os.stat_result) -> bool:
    """Tell whether a file with that status is copied into the pack: it is small, and has no holes."""
    return status.st_size <= SMALL_BYTES and status.st_blocks * _BLOCK_BYTES >= status.st_size


def settle(raw: int) -> None:
    """Enter into the index what was taken after it was written. Safe to repeat, and to interrupt."""
    try:
        changes = _Changes.read(raw)
    except FileNotFoundError:
        return
    if changes:
        descriptor = os.open(_NEW_INDEX, _NEW, 0o600, dir_fd=raw)
        with os.fdopen(descriptor, "w") as new, os.fdopen(_open_list(raw, INDEX)) as index:
            new.writelines(changes.entered(_bounded(index)))
        os.rename(_NEW_INDEX, INDEX, src_dir_fd=raw, dst_dir_fd=raw)
    os.unlink(CHANGES, dir_fd=raw)


def entries_of(raw: int) -> Iterator[CutEntry]:
    """Yield everything that was taken into *raw*, once it is settled, a directory before what it holds."""
    with os.fdopen(_open_list(raw, INDEX)) as index:
        yield from parsed(index)


def parsed(lines: IO[str]) -> Iterator[CutEntry]:
    """Yield the entries of an index.

    Raises:
        DamagedArtifactError: when it is none.
    """
    entries = (_stored(json.loads(line)) for line in _bounded(lines))
    while True:
        try:
            entry = next(entries)
        except StopIteration:
            return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedArtifactError(f"the list of what is in the tree cannot be read: {error}") from error
        yield entry


def open_content(raw: int, entry: CutEntry) -> int:
    """Return a descriptor of the file that holds the content of *entry*."""
    return open_regular(raw, PACK if entry.big is None else b"big-%d" % entry.big)


def assemble(raw: int, directory: int, name: bytes, progress: Progress) -> TreeProblems:
    """Make the new directory *name* in *directory* the tree that `cut_tree` took into *raw*.

    Big files are shared with *raw*. What would keep the copy itself from being removed stays in the index.
    """
    root = make_directory(directory, name)
    pack = open_regular(raw, PACK)
    try:
        writer = TreeWriter(root, allowed=EVERYTHING)
        for entry in entries_of(raw):
            plain = replace(entry, metadata=replace(entry.metadata, flags=0))
            if entry.big is not None:
                writer.adopt(entry.path, plain.metadata, raw, b"big-%d" % entry.big)
            elif entry.has_content:
                with writer.file(entry.path, plain.metadata, entry.size_bytes) as file:
                    file.write(_read_exactly(pack, entry.offset or 0, entry.size_bytes))
            else:
                write_plain(writer, plain)
            progress(entry.size_bytes)
        return writer.finish()
    finally:
        os.close(pack)
        os.close(root)


def spend(raw: int) -> None:
    """Remove from *raw* what was assembled; the index stays."""
    for name in map(os.fsencode, os.listdir(raw)):
        if name != INDEX and not (removal := remove_tree(raw, name, unlock=True)).complete:
            raise NonRecoverableError(f"what a cut was made from could not be removed: {removal.left}")


def copy_back(
    raw: int, content: int, directory: int, name: bytes, progress: Progress, *, allowed: Allowed
) -> TreeProblems:
    """Make the new directory *name* in *directory* from an assembled tree and its index."""
    root = make_directory(directory, name)
    try:
        writer = TreeWriter(root, allowed=allowed)
        for entry in entries_of(raw):
            if not entry.has_content:
                write_plain(writer, entry)
                continue
            source = open_below(content, entry.path, READING)
            try:
                with writer.file(entry.path, entry.metadata, entry.size_bytes) as file:
                    file.copy(source, progress)
            finally:
                os.close(source)
        return writer.finish()
    finally:
        os.close(root)


def write_plain(writer: TreeWriter, entry: CutEntry) -> None:
    """Write an entry that has no content of its own."""
    if stat.S_ISDIR(entry.metadata.mode):
        writer.directory(entry.path, entry.metadata)
    elif entry.link is not None:
        writer.hard_link(entry.path, entry.link)
    elif entry.target is not None:
        writer.symbolic_link(entry.path, entry.target, entry.metadata)
    else:
        writer.special(entry.path, entry.metadata, entry.device)


_Place = tuple[bytes, ...]


class _Changes:
    """What was taken, and what was gone, after an index had been written: the last word holds."""

    def __init__(self) -> None:
        #: by place: how many changes came before, and the line
        self._taken: dict[_Place, tuple[int, str]] = {}
        self._gone: dict[_Place, int] = {}

    @classmethod
    def read(cls, raw: int) -> _Changes:
        found = cls()
        with os.fdopen(_open_list(raw, CHANGES)) as lines:
            for number, line in enumerate(_bounded(lines)):
                found._add(number, line)
        return found

    def __bool__(self) -> bool:
        return bool(self._taken or self._gone)

    def entered(self, index: Iterator[str]) -> Iterator[str]:
        """Yield the lines of *index*, changed, in the order of a walk."""
        more = iter(sorted(self._taken))
        coming = next(more, None)
        for line in index:
            place = _place(json.loads(line)["path"])
            while coming is not None and coming <= place:
                yield from self._line(coming)
                coming = next(more, None)
            if place not in self._taken and not self._is_gone(place, -1):
                yield line
        while coming is not None:
            yield from self._line(coming)
            coming = next(more, None)

    def _add(self, number: int, line: str) -> None:
        body = json.loads(line)
        if GONE in body:
            self._gone[_place(body[GONE])] = number
        else:
            self._taken[_place(body["path"])] = number, line

    def _line(self, place: _Place) -> Iterator[str]:
        number, line = self._taken[place]
        if not self._is_gone(place, number):
            yield line

    def _is_gone(self, place: _Place, number: int) -> bool:
        """Tell whether it, or a directory above it, was gone later than *number*."""
        if not self._gone:
            return False
        above = (place[:length] for length in range(1, len(place) + 1))
        return any(self._gone.get(each, -1) > number for each in above)


def _place(path: str) -> _Place:
    """Return what sorts as a walk goes: a directory before what it holds, names by their bytes."""
    return tuple(os.fsencode(path).split(b"/")) if path else ()


def _open_list(raw: int, name: bytes) -> int:
    return os.open(name, READING | os.O_NOFOLLOW, dir_fd=raw)


def read_part(descriptor: int, offset: int, most: int) -> bytes:
    """Return what is there from *offset* on, *most* bytes at most: less only at the end of the file."""
    parts = bytearray()
    while len(parts) < most and (part := os.pread(descriptor, most - len(parts), offset + len(parts))):
        parts += part
    return bytes(parts)


def _read_exactly(descriptor: int, offset: int, size_bytes: int) -> bytes:
    there = max(0, os.fstat(descriptor).st_size - offset)
    # the list may say any size: no memory is asked for what is not there
    data = read_part(descriptor, offset, min(size_bytes, there))
    if len(data) != size_bytes:
        raise DamagedArtifactError(f"{size_bytes - len(data)} bytes of the cut are missing")
    return data


def _stored(line: dict[str, Any]) -> CutEntry:
    link, target, offset, big = (line.get(name) for name in ("link", "target", "offset", "big"))
    return CutEntry(
        path=os.fsencode(line["path"]),
        metadata=Metadata(
            mode=_number(line["mode"], _LARGEST_ID),
            uid=_number(line["uid"], _LARGEST_ID),
            gid=_number(line["gid"], _LARGEST_ID),
            mtime_ns=_number(line["mtime_ns"], _LARGEST_TIME_NS, least=-_LARGEST_TIME_NS),
            attributes={
                os.fsencode(key): base64.b64decode(value) for key, value in line.get("attributes", {}).items()
            },
            flags=_number(line.get("flags", 0), _LARGEST_ID),
        ),
        link=None if link is None else os.fsencode(link),
        target=None if target is None else os.fsencode(target),
        device=_number(line.get("device", 0), _LARGEST_SIZE),
        size_bytes=_number(line.get("size", 0), _LARGEST_SIZE),
        offset=None if offset is None else _number(offset, _LARGEST_SIZE),
        big=None if big is None else _number(big, _LARGEST_SIZE),
    )


def _number(value: object, most: int, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{str(value)[:80]!r} is no number between {least} and {most}")
    return value


def _bounded(lines: IO[str]) -> Iterator[str]:
    while line := lines.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ValueError("a line of it is too long")
        yield line
