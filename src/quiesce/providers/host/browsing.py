"""Look into a directory's restore point, and take one file out of it, without restoring the rest."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from quiesce.errors import ResourceNotFoundError
from quiesce.files.content import copy_content
from quiesce.files.descriptors import READING, checked_path, open_below, open_directory
from quiesce.model.stored_entry import EntryKind, StoredEntry, StoredListing
from quiesce.provider_kit.saving import watched
from quiesce.providers.host.cuts import CutEntry, entries_of
from quiesce.providers.host.former_states import CONTENT
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.saved_tree import extract_file, stored_entries
from quiesce.providers.host.snapshot_dir import RAW
from quiesce.providers.host.stored import require_unchanged

#: a page with more would be of no use, and take memory
MOST_LISTED: Final = 5000

#: gives the entries from the first on, each time that it is called
Entries: TypeAlias = Callable[[], Iterable[CutEntry]]


def list_snapshot(job: HostJob, below: bytes) -> StoredListing:
    """Return what is in the directory *below* of a snapshot."""
    with _snapshot(job) as (raw, _):
        return listing_of(entries_of(raw), below)


def extract_from_snapshot(job: HostJob, path: bytes, target: int) -> None:
    """Write the content of the file *path* of a snapshot to an open, empty file."""
    with _snapshot(job) as (raw, content):
        entry = file_at(lambda: entries_of(raw), path)
        source = open_below(content, entry.path, READING)
        try:
            copy_content(source, target, entry.size_bytes, watched(job.context))
        finally:
            os.close(source)


def list_backup(job: HostJob, below: bytes) -> StoredListing:
    """Return what is in the directory *below* of a backup."""
    manifest = job.saving.manifest()
    with job.repository.reader(manifest) as reader:
        return listing_of(stored_entries(reader, below), below)


def extract_from_backup(job: HostJob, path: bytes, target: int) -> None:
    """Write the content of the file *path* of a backup to an open, empty file.

    Raises:
        DamagedArtifactError: when any of it is not what was written; what is in the file is of no use then.
    """
    manifest = job.saving.manifest()
    with job.repository.reader(manifest) as reader:
        extract_file(reader, path, target, watched(job.context))


def listing_of(entries: Iterable[CutEntry], below: bytes) -> StoredListing:
    """Return what is directly in the directory *below*, in the order of its bytes.

    Raises:
        ResourceNotFoundError: when there is no such directory.
    """
    found: list[StoredEntry] = []
    there, left_out = False, 0
    for entry in entries:
        if entry.path == below:
            there = stat.S_ISDIR(entry.metadata.mode)
        elif entry.path.rpartition(b"/")[0] == below:
            if len(found) < MOST_LISTED:
                found.append(_shown(entry))
            else:
                left_out += 1
    if not there:
        raise ResourceNotFoundError(f"it holds no directory {os.fsdecode(below)!r}")
    return StoredListing(entries=tuple(sorted(found, key=lambda each: each.path)), left_out=left_out)


def file_at(entries: Entries, path: bytes) -> CutEntry:
    """Return the file *path*; of a hard link, the name under which its content was saved.

    Raises:
        ResourceNotFoundError: when there is none, or it is no regular file.
    """
    found = next((entry for entry in entries() if entry.path == checked_path(path)), None)
    if found is not None and found.link is not None:
        first = found.link
        found = next((entry for entry in entries() if entry.path == first), None)
    if found is None or not found.has_content:
        raise ResourceNotFoundError(f"it holds no file {os.fsdecode(path)!r}")
    return found


def _shown(entry: CutEntry) -> StoredEntry:
    mode = entry.metadata.mode
    kinds = {stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFREG: EntryKind.FILE, stat.S_IFLNK: EntryKind.LINK}
    return StoredEntry(
        path=entry.path,
        kind=kinds.get(stat.S_IFMT(mode), EntryKind.SPECIAL),
        size_bytes=entry.size_bytes if entry.link is None else None,
        modified_at=entry.metadata.mtime_ns / 1e9,
        target=entry.target or entry.link or b"",
    )


@contextmanager
def _snapshot(job: HostJob) -> Iterator[tuple[int, int]]:
    """Hold the index and the content of the call's snapshot open."""
    cut = job.snapshots.find(job.call)
    with job.snapshots.opened(cut) as directory:
        require_unchanged(cut, directory)
        raw = open_directory(directory, RAW)
        try:
            content = open_directory(directory, CONTENT)
            try:
                yield raw, content
            finally:
                os.close(content)
        finally:
            os.close(raw)
