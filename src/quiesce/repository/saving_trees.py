"""Stores a tree: walked once, what has not changed since the last point is not opened."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from quiesce.errors import DamagedArtifactError, MountInsideError, TreeChangedError
from quiesce.files.content import data_ranges
from quiesce.files.metadata import Metadata, read_attributes, read_flags
from quiesce.files.problems import TreeProblems
from quiesce.files.system_calls import sync_file_system
from quiesce.files.walking import Entry, Walk, everything
from quiesce.repository.content import BLOCK_BYTES, BlobRecord
from quiesce.repository.content_draft import ContentDraft, blocks_of
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.points import PointItem
from quiesce.repository.storing import BlobSlot, BlobStore
from quiesce.repository.trees import (
    FILE,
    HARD_LINK,
    INDIRECT,
    SPARSE,
    Segment,
    SegmentDraft,
    TreeEntry,
    kind_of,
    read_root,
    read_segment,
    walk_order,
    write_root,
)

#: a file whose time is as young as the clock is coarse may have been written again without a trace
_TWO_TICKS_NS: Final = 20_000_000
#: so many files are open before they are read
_MOST_AHEAD: Final = 32
#: so many entries may wait for their content
_MOST_PENDING: Final = 2048


@dataclass(slots=True)
class TreeSaved:
    """What became of a tree."""

    entries: int = 0
    files: int = 0
    size_bytes: int = 0
    #: files that were not opened, because nothing says that they have changed
    unchanged: int = 0
    #: what is mounted inside: left out
    mounts: list[bytes] = field(default_factory=list)
    #: what could not be read, or changed while it was read
    problems: TreeProblems = field(default_factory=TreeProblems)
    #: sockets, which only their server can make
    left_out: TreeProblems = field(default_factory=TreeProblems)


class PreviousTree:
    """The tree of an earlier point, met in the same order as the walk goes."""

    def __init__(self, store: BlobStore, fetcher: BlobFetcher, item: PointItem) -> None:
        self._store = store
        self._fetcher = fetcher
        self._until_ns = item.begun_ns - _TWO_TICKS_NS
        self._entries = read_tree(fetcher, item.root)
        self._next: TreeEntry | None = None
        self._advance()

    def unchanged(self, path: bytes, status: os.stat_result) -> TreeEntry | None:
        """Return the entry of *path* when everything about it is as it was, and all of it is still stored."""
        found = self._entry(path)
        if found is None or found.kind != FILE or not self._is_same(found, status):
            return None
        return found if self._is_stored(found) else None

    def _entry(self, path: bytes) -> TreeEntry | None:
        wanted = walk_order(path)
        while self._next is not None and walk_order(self._next.path) < wanted:
            self._advance()
        return self._next if self._next is not None and self._next.path == path else None

    def _advance(self) -> None:
        try:
            self._next = next(self._entries, None)
        except DamagedArtifactError:
            # nothing is known of what follows, so it is read
            self._next = None

    def _is_same(self, found: TreeEntry, status: os.stat_result) -> bool:
        return (
            found.ctime_ns == status.st_ctime_ns < self._until_ns
            and found.mtime_ns == status.st_mtime_ns
            and found.size_bytes == status.st_size
            and found.inode == status.st_ino
        )

    def _is_stored(self, found: TreeEntry) -> bool:
        if not all(map(self._is_there, found.records)):
            return False
        if not found.is_indirect:
            return True
        try:
            return all(map(self._is_there, self._fetcher.records(found.records)))
        except DamagedArtifactError:
            return False

    def _is_there(self, record: BlobRecord) -> bool:
        return record.is_zeros or self._store.rely(record.address)


def read_tree(fetcher: BlobFetcher, root: bytes, *, below: bytes = b"") -> Iterator[TreeEntry]:
    """Yield every entry of a stored tree, in the order of a walk; those at or *below* a path only."""
    for segment in _segments(fetcher, root, below):
        for entry in read_segment(fetcher.get(segment.address)):
            if not below or entry.path == below or entry.path.startswith(below + b"/"):
                yield entry


def _segments(fetcher: BlobFetcher, root: bytes, below: bytes) -> Iterator[Segment]:
    """Yield the segments in which something at or below a path may be."""
    begin, end = walk_order(below), walk_order(below) + b"\1"
    held: Segment | None = None
    for segment in read_root(fetcher.get(root)):
        first = walk_order(segment.first)
        if held is not None and (not below or first > begin):
            yield held
        if below and first >= end:
            return
        held = segment
    if held is not None:
        yield held


class _Pending:
    """An entry whose content is on its way."""

    __slots__ = ("content", "fields", "lost", "same")

    def __init__(self, fields: dict[str, object]) -> None:
        self.fields = fields
        self.content: ContentDraft | None = None
        #: the records of an unchanged file
        self.same: tuple[BlobRecord, ...] = ()
        #: it could not be read
        self.lost = False

    def entry(self) -> TreeEntry:
        """Return what is stored; waits for the content."""
        records = self.same
        if self.content is not None:
            is_indirect, records = self.content.finish()
            if is_indirect:
                self.fields["bits"] = INDIRECT | self.fields.get("bits", 0)  # type: ignore[operator]
        return TreeEntry(**self.fields, records=records)  # type: ignore[arg-type]


class _OpenFile(NamedTuple):
    """A file that is going to be read; the kernel fetches its first block meanwhile."""

    entry: Entry
    descriptor: int
    pending: _Pending


class TreeSaver:
    """Stores one tree."""

    def __init__(
        self,
        store: BlobStore,
        *,
        previous: PreviousTree | None = None,
        wanted: Callable[[Entry], bool] = everything,
    ) -> None:
        self._store = store
        self._previous = previous
        self._wanted = wanted
        self._pending: deque[_Pending] = deque()
        self._ahead: deque[_OpenFile] = deque()
        self._draft = SegmentDraft()
        self._segments: list[tuple[bytes, BlobSlot, int]] = []
        self._names: dict[tuple[int, int], tuple[bytes | None, int]] = {}
        #: names that are not stored, of what may have others
        self._lost: set[bytes] = set()
        self.saved = TreeSaved()

    def save(self, root: int) -> PointItem:
        """Store what is below the open directory *root*, which stays the caller's."""
        begun_ns = _known_from(root)
        walk = Walk(root, wanted=self._wanted)
        try:
            with contextlib.closing(walk.entries()) as entries:
                for entry in entries:
                    self._take(entry)
                    self._read_opened(at_most=_MOST_AHEAD)
                    self._drain(at_most=_MOST_PENDING)
            self._read_opened(at_most=0)
            self._store.push()
            self._drain(at_most=0)
        finally:
            for opened in self._ahead:
                os.close(opened.descriptor)
        self._end_segment()
        self._store.push()
        self.saved.mounts = walk.mounts
        for problem in walk.problems:
            self.saved.problems.add(problem.path, problem.reason)
        segments = [Segment(first, slot.address, entries) for first, slot, entries in self._segments]
        return PointItem(
            kind="tree",
            root=self._store.add_now(write_root(segments)),
            size_bytes=self.saved.size_bytes,
            entries=self.saved.entries,
            begun_ns=begun_ns,
        )

    def _take(self, entry: Entry) -> None:
        try:
            pending = self._pending_of(entry)
        except FileNotFoundError:
            self._let_others_be_first(entry)  # gone meanwhile
        except (TreeChangedError, MountInsideError) as error:
            self._lose(entry, str(error))
        except OSError as error:
            self._lose(entry, error)
        else:
            if pending is not None:
                self._pending.append(pending)

    def _pending_of(self, entry: Entry) -> _Pending | None:
        if stat.S_ISSOCK(entry.status.st_mode):
            self.saved.left_out.add(entry.path, "a socket, which only its server can make")
            return None
        first = self._first_name(entry)
        if first is not None:
            return _Pending({"path": entry.path, "kind": HARD_LINK, "target": first})
        if entry.is_regular:
            return self._file(entry)
        return self._other(entry)

    def _first_name(self, entry: Entry) -> bytes | None:
        """Return the first name of an entry that was met under another; remember it when it is the first."""
        status = entry.status
        if status.st_nlink < 2 or entry.is_directory:
            return None
        key = (status.st_dev, status.st_ino)
        first, others = self._names.pop(key, (None, status.st_nlink))
        if others > 1:
            self._names[key] = (entry.path if first is None else first, others - 1)
        return first

    def _lose(self, entry: Entry, reason: str | OSError) -> None:
        self.saved.problems.add(entry.path, reason)
        self._let_others_be_first(entry)

    def _let_others_be_first(self, entry: Entry) -> None:
        """See to it that no other name of a file relies on one that is not stored."""
        key = (entry.status.st_dev, entry.status.st_ino)
        first, others = self._names.get(key, (None, 0))
        if first == entry.path:
            self._names[key] = None, others
        if entry.status.st_nlink > 1:
            self._lost.add(entry.path)

    def _other(self, entry: Entry) -> _Pending:
        descriptor = entry.open()
        try:
            metadata = Metadata.of_descriptor(descriptor)
            target = os.readlink(b"", dir_fd=descriptor) if entry.is_link else b""
        finally:
            os.close(descriptor)
        fields = _fields(entry.path, entry.status, metadata.attributes, metadata.flags)
        return _Pending({**fields, "target": target})

    def _file(self, entry: Entry) -> _Pending:
        self.saved.files += 1
        same = self._previous.unchanged(entry.path, entry.status) if self._previous else None
        if same is None:
            return self._open_file(entry)
        self.saved.unchanged += 1
        fields = _fields(entry.path, entry.status, same.attributes, same.flags)
        pending = _Pending({**fields, "bits": same.bits})
        pending.same = same.records
        return pending

    def _open_file(self, entry: Entry) -> _Pending:
        """Open a file, and let the kernel fetch what is read soon: one at a time, a cold disk is slow."""
        opened = _OpenFile(entry, entry.open(), _Pending({}))
        self._ahead.append(opened)
        if entry.status.st_size:
            os.posix_fadvise(opened.descriptor, 0, BLOCK_BYTES, os.POSIX_FADV_WILLNEED)
        return opened.pending

    def _read_opened(self, at_most: int) -> None:
        """Read the files that were opened first, until no more than *at_most* are open."""
        while len(self._ahead) > at_most:
            entry, descriptor, pending = self._ahead.popleft()
            try:
                self._read_file(entry.path, descriptor, pending)
            except OSError as error:
                pending.lost = True
                self._lose(entry, error)
            finally:
                os.close(descriptor)

    def _read_file(self, path: bytes, descriptor: int, pending: _Pending) -> None:
        status = os.fstat(descriptor)
        fields = _fields(path, status, read_attributes(descriptor), read_flags(descriptor))
        content = ContentDraft(self._store)
        if status.st_size < BLOCK_BYTES:
            content.add(os.read(descriptor, BLOCK_BYTES))
        else:
            read_large(descriptor, status.st_size, content)
            fields["bits"] = SPARSE if status.st_blocks * 512 < status.st_size else 0
        fields["size_bytes"] = content.size_bytes
        self._note_change(path, status, os.fstat(descriptor))
        pending.fields, pending.content = fields, content

    def _note_change(self, path: bytes, before: os.stat_result, after: os.stat_result) -> None:
        if (before.st_mtime_ns, before.st_ctime_ns, before.st_size) != (
            after.st_mtime_ns,
            after.st_ctime_ns,
            after.st_size,
        ):
            self.saved.problems.add(path, "it changed while it was read")

    def _drain(self, at_most: int) -> None:
        """Write the entries that came first, until no more than *at_most* wait."""
        while len(self._pending) > at_most:
            pending = self._pending.popleft()
            if not pending.fields:
                self._read_opened(at_most=0)
            if not pending.lost:
                self._write_found(pending.entry())

    def _write_found(self, entry: TreeEntry) -> None:
        if entry.kind == HARD_LINK and entry.target in self._lost:
            self.saved.problems.add(entry.path, "another name of what could not be read")
        else:
            self._write(entry)

    def _write(self, entry: TreeEntry) -> None:
        self._draft.add(entry)
        self.saved.entries += 1
        self.saved.size_bytes += entry.size_bytes
        if self._draft.is_full:
            self._end_segment()

    def _end_segment(self) -> None:
        draft, self._draft = self._draft, SegmentDraft()
        if draft.entries:
            self._segments.append((draft.first, self._store.add(draft.as_bytes()), draft.entries))


def _known_from(root: int) -> int:
    """Return from when on each write to a file changes its times, those through maps too.

    A page that was written to before is not noticed when it is written to again, until it was written out.
    """
    try:
        sync_file_system(root)
    except OSError:
        return 0  # the disk has not all of it, so nothing will be taken for unchanged
    return time.time_ns()


def read_large(descriptor: int, size_bytes: int, content: ContentDraft) -> None:
    """Read a file block by block, and nothing where it has holes."""
    for offset, length in blocks_of(data_ranges(descriptor, size_bytes), size_bytes):
        content.skip_to(offset)
        data = os.pread(descriptor, length, offset)
        content.add(data)
        if len(data) < length:
            return  # it became shorter, which is noted
    content.skip_to(size_bytes)


def _fields(path: bytes, status: os.stat_result, attributes: object, flags: int) -> dict[str, object]:
    return {
        "path": path,
        "kind": kind_of(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "size_bytes": status.st_size if stat.S_ISREG(status.st_mode) else 0,
        "flags": flags,
        "attributes": attributes,
        "device": (os.major(status.st_rdev), os.minor(status.st_rdev)),
    }
