"""The cut of a tree: made fast while writers are stopped, built to a tree again afterwards.

Making a file costs far more than reading one, so small files go into one *pack* one after the other; big
ones become files, which share their data with the original where the file system can. An *index* says
what is where, byte for byte. Building happens after the thaw.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final

from quiesce.errors import DamagedArtifactError, NonRecoverableError, TreeChangedError
from quiesce.files.content import Progress, copy_content
from quiesce.files.descriptors import PASSAGE, READING, open_below, open_regular
from quiesce.files.metadata import EVERYTHING, Allowed, Metadata, gives_rights
from quiesce.files.mounts import require_no_mounts_below
from quiesce.files.problems import TreeProblems
from quiesce.files.removal import remove_tree
from quiesce.files.walking import REPLACED, Entry, Walk
from quiesce.files.writing import TreeWriter, make_directory

#: up to here reading and writing cost less than making a file
SMALL_BYTES: Final = 256 << 10
INDEX: Final = b"index"
_PACK: Final = b"pack"
_BLOCK_BYTES: Final = 512
_BUFFER_BYTES: Final = 1 << 20
#: an index that SQLite keeps in shared memory and makes anew; readers change it while nothing is written
_NOT_DATA: Final = b"-shm"
#: of an index: a path, and every attribute that a file can have
_LONGEST_LINE: Final = 4 << 20
#: deeper entries are left out: programs reach 4,096 bytes, and the list of a tree grows with each path in it
_LONGEST_PATH: Final = 16 << 10
#: of one entry, all together
_MOST_ATTRIBUTES: Final = 1 << 20
_NO_DATA: Final = "sockets and devices are left out"
_TOO_DEEP: Final = f"what is deeper than {_LONGEST_PATH} bytes of its path is left out"
_TOO_MANY_ATTRIBUTES: Final = "extended attributes of more than 1 MiB are left out"
_LARGEST_ID: Final = 2**32 - 1
_LARGEST_SIZE: Final = 2**63 - 1
_LARGEST_TIME_NS: Final = 10**9 * 2**62
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, kw_only=True)
class CutTally:
    """What a cut has met."""

    entries: int = 0
    size_bytes: int = 0
    #: bytes of big files that had to be copied because they could not be shared
    copied_bytes: int = 0
    #: what the files take on the disk, holes not counted in: anybody can make a file of 8 TiB of holes
    allocated_bytes: int = 0
    #: what is not in the cut, and why: sockets and, without root, devices, which are not data; and what
    #: somebody made so deep, or gave so many attributes, that the list of the tree would not end
    left_out: TreeProblems = field(default_factory=TreeProblems)
    #: entries that come back as they were only where the node allows it: set-user-ID, devices, capabilities
    privileged: int = 0
    #: what was written to, made or removed meanwhile
    changed: list[bytes] = field(default_factory=list)


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


def cut_tree(source: int, directory: int, name: bytes, progress: Progress) -> CutTally:
    """Take the tree at *source* into the new directory *name* of *directory*, as it is now.

    Raises:
        MountInsideError: when anything is mounted inside *source*.
    """
    require_no_mounts_below(source)
    with contextlib.ExitStack() as stack:
        raw = make_directory(directory, name)
        stack.callback(os.close, raw)
        index = stack.enter_context(os.fdopen(_new_file(raw, INDEX), "w"))
        pack = stack.enter_context(os.fdopen(_new_file(raw, _PACK), "wb", buffering=_BUFFER_BYTES))
        return _Cutter(source, raw, index, pack, progress).run()


def is_reasonable(entry: Entry) -> bool:
    """Tell whether the path is one that programs can use; else it is left out with all that is below."""
    return len(entry.path) <= _LONGEST_PATH


def data_bytes(status: os.stat_result) -> int:
    """Return how much of a file is data, not holes."""
    return min(status.st_size, status.st_blocks * _BLOCK_BYTES)


def is_packed(status: os.stat_result) -> bool:
    """Tell whether a file with that status is copied into the pack: it is small, and has no holes."""
    return status.st_size <= SMALL_BYTES and status.st_blocks * _BLOCK_BYTES >= status.st_size


def entries_of(raw: int) -> Iterator[CutEntry]:
    """Yield everything that `cut_tree` took into *raw*, a directory before what it holds."""
    with os.fdopen(os.open(INDEX, READING | os.O_NOFOLLOW, dir_fd=raw)) as index:
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
    return open_regular(raw, _PACK if entry.big is None else b"big-%d" % entry.big)


def assemble(raw: int, directory: int, name: bytes, progress: Progress) -> TreeProblems:
    """Make the new directory *name* in *directory* the tree that `cut_tree` took into *raw*.

    Big files are shared with *raw*. What would keep the copy itself from being removed stays in the index.
    """
    root = make_directory(directory, name)
    pack = open_regular(raw, _PACK)
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


class _Cutter:
    def __init__(self, source: int, raw: int, index: IO[str], pack: IO[bytes], progress: Progress) -> None:
        self._source = source
        self._raw = raw
        self._index = index
        self._pack = pack
        self._progress = progress
        self._tally = CutTally()
        self._links: dict[tuple[int, int], bytes] = {}
        self._directories: list[tuple[bytes, tuple[int, int, int]]] = []
        self._offset = 0
        self._big = 0

    def run(self) -> CutTally:
        walk = Walk(self._source, wanted=self._is_wanted)
        with contextlib.closing(walk.entries()) as entries:
            for entry in entries:
                try:
                    self._take(entry)
                except (FileNotFoundError, TreeChangedError):
                    self._tally.changed.append(entry.path)
        if walk.mounts:
            require_no_mounts_below(self._source)
            raise TreeChangedError("something was mounted inside while it was cut")
        self._look_at(walk.problems)
        for path, before in self._directories:
            self._compare_directory(path, before)
        return self._tally

    def _is_wanted(self, entry: Entry) -> bool:
        if is_reasonable(entry):
            return True
        self._tally.left_out.add(entry.path, _TOO_DEEP)
        return False

    def _take(self, entry: Entry) -> None:
        if stat.S_ISSOCK(entry.status.st_mode) or (_is_device(entry.status) and os.geteuid() != 0):
            self._tally.left_out.add(entry.path, _NO_DATA)
            return
        descriptor = entry.open()
        try:
            metadata = self._bounded(entry, Metadata.of_descriptor(descriptor))
            self._tally.privileged += gives_rights(metadata)
            if entry.is_directory:
                self._directories.append((entry.path, _version(entry.status)))
                self._write(entry, metadata)
            elif (first := self._first_name(entry)) != entry.path:
                self._write(entry, metadata, link=os.fsdecode(first))
            elif entry.is_regular:
                self._take_file(descriptor, entry, metadata)
            elif entry.is_link:
                self._write(entry, metadata, target=os.fsdecode(os.readlink(b"", dir_fd=descriptor)))
            else:
                self._write(entry, metadata, device=entry.status.st_rdev)
        finally:
            os.close(descriptor)

    def _bounded(self, entry: Entry, metadata: Metadata) -> Metadata:
        """Return the metadata without attributes of the user's own, where they are too large to be listed."""
        attributes = metadata.attributes
        if sum(len(key) + len(value) for key, value in attributes.items()) <= _MOST_ATTRIBUTES:
            return metadata
        self._tally.left_out.add(entry.path, _TOO_MANY_ATTRIBUTES)
        kept = {key: value for key, value in attributes.items() if not key.startswith(b"user.")}
        return replace(metadata, attributes=kept)

    def _first_name(self, entry: Entry) -> bytes:
        if entry.status.st_nlink < 2:
            return entry.path
        return self._links.setdefault((entry.status.st_dev, entry.status.st_ino), entry.path)

    def _take_file(self, descriptor: int, entry: Entry, metadata: Metadata) -> None:
        before = entry.status
        if is_packed(before):
            self._pack_content(descriptor, entry, metadata)
        else:
            self._take_content(descriptor, entry, metadata)
        if not entry.path.endswith(_NOT_DATA) and _version(before) != _version(os.fstat(descriptor)):
            self._tally.changed.append(entry.path)
        self._tally.size_bytes += before.st_size
        self._tally.allocated_bytes += data_bytes(before)

    def _pack_content(self, descriptor: int, entry: Entry, metadata: Metadata) -> None:
        data = _read(descriptor, 0, SMALL_BYTES)
        self._pack.write(data)
        self._write(entry, metadata, offset=self._offset, size=len(data))
        self._offset += len(data)
        self._progress(len(data))

    def _take_content(self, descriptor: int, entry: Entry, metadata: Metadata) -> None:
        self._big += 1
        target = _new_file(self._raw, b"big-%d" % self._big)
        try:
            copied = copy_content(descriptor, target, entry.status.st_size, self._progress)
            size_bytes = os.fstat(target).st_size
        finally:
            os.close(target)
        self._tally.copied_bytes += copied
        self._write(entry, metadata, big=self._big, size=size_bytes)

    def _write(self, entry: Entry, metadata: Metadata, **more: object) -> None:
        line: dict[str, object] = {
            "path": os.fsdecode(entry.path),
            "mode": metadata.mode,
            "uid": metadata.uid,
            "gid": metadata.gid,
            "mtime_ns": metadata.mtime_ns,
            **more,
        }
        if metadata.flags:
            line["flags"] = metadata.flags
        if metadata.attributes:
            line["attributes"] = {
                os.fsdecode(key): base64.b64encode(value).decode()
                for key, value in metadata.attributes.items()
            }
        self._index.write(json.dumps(line) + "\n")
        self._tally.entries += 1

    def _look_at(self, problems: TreeProblems) -> None:
        for problem in problems:
            if problem.reason != REPLACED:
                raise NonRecoverableError(
                    f"not everything can be read: {problems}",
                    hint="Let the user that runs quiesce read it.",
                )
            self._tally.changed.append(problem.path)

    def _compare_directory(self, path: bytes, before: tuple[int, int, int]) -> None:
        try:
            descriptor = open_below(self._source, path, PASSAGE) if path else os.dup(self._source)
        except OSError:
            self._tally.changed.append(path)
            return
        try:
            if _version(os.fstat(descriptor)) != before:
                self._tally.changed.append(path or b".")
        finally:
            os.close(descriptor)


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _new_file(directory: int, name: bytes) -> int:
    return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)


def _read(descriptor: int, offset: int, most: int) -> bytes:
    """Return what is there from *offset* on, *most* bytes at most: less only at the end of the file."""
    parts = bytearray()
    while len(parts) < most and (part := os.pread(descriptor, most - len(parts), offset + len(parts))):
        parts += part
    return bytes(parts)


def _read_exactly(descriptor: int, offset: int, size_bytes: int) -> bytes:
    data = _read(descriptor, offset, size_bytes)
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
