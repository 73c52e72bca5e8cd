"""Single entries of a tree, taken into a cut: small content into the pack, big content into its own files."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Final

from quiesce.files.content import Progress, copy_content
from quiesce.files.metadata import Metadata, gives_rights
from quiesce.files.problems import TreeProblems
from quiesce.files.walking import Entry
from quiesce.providers.host.cuts import (
    CHANGES,
    GONE,
    INDEX,
    PACK,
    SMALL_BYTES,
    data_bytes,
    is_packed,
    read_part,
)

_BUFFER_BYTES: Final = 1 << 20
#: an index that SQLite keeps in shared memory and makes anew; readers change it while nothing is written
_NOT_DATA: Final = b"-shm"
#: of one entry, all together
_MOST_ATTRIBUTES: Final = 1 << 20
_TOO_MANY_ATTRIBUTES: Final = "extended attributes of more than 1 MiB are left out"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, kw_only=True)
class CutTally:
    """What a cut has met."""

    entries: int = 0
    size_bytes: int = 0
    #: bytes of big files that had to be copied, within the window, because they could not be shared
    copied_bytes: int = 0
    #: what the files take on the disk, holes not counted in: anybody can make a file of 8 TiB of holes
    allocated_bytes: int = 0
    #: entries whose content or metadata was taken within the window; the others were copied before
    taken: int = 0
    #: what is not in the cut, and why: sockets and, without root, devices, which are not data; and what
    #: somebody made so deep, or gave so many attributes, that the list of the tree would not end
    left_out: TreeProblems = field(default_factory=TreeProblems)
    #: entries that come back as they were only where the node allows it: set-user-ID, devices, capabilities
    privileged: int = 0
    #: what was written to, made or removed meanwhile
    changed: list[bytes] = field(default_factory=list)


class Taker:
    """Takes entries into the directory of a cut, and lists them: in the index, later on as changes to it."""

    def __init__(self, raw: int, progress: Progress) -> None:
        """*raw* is empty, and the caller's to close."""
        self._raw = raw
        self._progress = progress
        self._lines: IO[str] = os.fdopen(_new_file(raw, INDEX), "w")
        self._pack = os.fdopen(_new_file(raw, PACK), "wb", buffering=_BUFFER_BYTES)
        self._offset = 0
        self._files = 0
        #: which file holds the content of a path
        self._big: dict[bytes, int] = {}
        #: paths of entries that come back as they were only where the node allows it
        self.privileged: set[bytes] = set()
        #: what was left out of entries that are listed, by path
        self.shortened: dict[bytes, str] = {}
        self.taken = self.taken_bytes = self.copied_bytes = 0

    def end_index(self) -> None:
        """Let the list be whole; whatever is taken from now on is a change to it."""
        self._lines.close()
        self._lines = os.fdopen(_new_file(self._raw, CHANGES), "w")

    def take(self, entry: Entry) -> bool:
        """Take *entry*, and its content; return whether it has stayed as it was meanwhile.

        Raises:
            FileNotFoundError, TreeChangedError: when it is gone, or something else by now.
            MountInsideError: when something was mounted there.
        """
        descriptor = entry.open()
        try:
            metadata = self._metadata(entry, descriptor)
            if entry.is_regular:
                return self._take_file(descriptor, entry, metadata)
            if entry.is_link:
                target = os.readlink(b"", dir_fd=descriptor)
                self._write(entry.path, metadata, target=os.fsdecode(target))
            elif entry.is_directory:
                self._write(entry.path, metadata)
            else:
                self._write(entry.path, metadata, device=entry.status.st_rdev)
            return True
        finally:
            os.close(descriptor)

    def take_link(self, entry: Entry, first: bytes) -> None:
        """List *entry* as another name of what is listed as *first*; raises as `take` does."""
        descriptor = entry.open()
        try:
            self._write(entry.path, self._metadata(entry, descriptor), link=os.fsdecode(first))
        finally:
            os.close(descriptor)

    def drop(self, path: bytes, *, below: bool) -> None:
        """Note that *path*, and all that was *below* it, if anything was, is no more."""
        self._lines.write(json.dumps({GONE: os.fsdecode(path)}) + "\n")
        inside = path + b"/"
        for noted in (self.privileged, self.shortened, self._big):
            _forget(noted, path)
            for each in [each for each in noted if each.startswith(inside)] if below else ():
                _forget(noted, each)

    def let_go_of_former_content(self, path: bytes) -> None:
        """Remove the file that holds what *path* was: it is going to be taken anew."""
        if (number := self._big.pop(path, None)) is not None:
            os.unlink(_file_name(number), dir_fd=self._raw)

    def flush(self) -> None:
        """Hand everything to the kernel."""
        self._pack.flush()
        self._lines.flush()

    def close(self) -> None:
        """Close what is open."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._lines.close)
            stack.callback(self._pack.close)

    def _metadata(self, entry: Entry, descriptor: int) -> Metadata:
        metadata = self._bounded(entry.path, Metadata.of_descriptor(descriptor))
        if gives_rights(metadata):
            self.privileged.add(entry.path)
        else:
            self.privileged.discard(entry.path)
        return metadata

    def _bounded(self, path: bytes, metadata: Metadata) -> Metadata:
        """Return the metadata without attributes of the user's own, where they are too large to be listed."""
        attributes = metadata.attributes
        self.shortened.pop(path, None)
        if sum(len(key) + len(value) for key, value in attributes.items()) <= _MOST_ATTRIBUTES:
            return metadata
        self.shortened[path] = _TOO_MANY_ATTRIBUTES
        kept = {key: value for key, value in attributes.items() if not key.startswith(b"user.")}
        return replace(metadata, attributes=kept)

    def _take_file(self, descriptor: int, entry: Entry, metadata: Metadata) -> bool:
        before = entry.status
        if is_packed(before):
            self._pack_content(descriptor, entry.path, metadata)
        else:
            self._take_content(descriptor, entry, metadata)
        self.taken_bytes += data_bytes(before)
        return entry.path.endswith(_NOT_DATA) or version_of(before) == version_of(os.fstat(descriptor))

    def _pack_content(self, descriptor: int, path: bytes, metadata: Metadata) -> None:
        data = read_part(descriptor, 0, SMALL_BYTES)
        self._pack.write(data)
        self._write(path, metadata, offset=self._offset, size=len(data))
        self._offset += len(data)
        self._progress(len(data))

    def _take_content(self, descriptor: int, entry: Entry, metadata: Metadata) -> None:
        self._files += 1
        target = _new_file(self._raw, _file_name(self._files))
        try:
            self._big[entry.path] = self._files
            self.copied_bytes += copy_content(descriptor, target, entry.status.st_size, self._progress)
            size_bytes = os.fstat(target).st_size
        finally:
            os.close(target)
        self._write(entry.path, metadata, big=self._files, size=size_bytes)

    def _write(self, path: bytes, metadata: Metadata, **more: object) -> None:
        line: dict[str, object] = {
            "path": os.fsdecode(path),
            "mode": metadata.mode,
            "uid": metadata.uid,
            "gid": metadata.gid,
            "mtime_ns": metadata.mtime_ns,
            **more,
        }
        if metadata.flags:
            line["flags"] = metadata.flags
        if metadata.attributes:
            line["attributes"] = _encoded(metadata.attributes)
        self._lines.write(json.dumps(line) + "\n")
        self.taken += 1


def version_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when a file or directory does."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_data(status: os.stat_result) -> bool:
    """Tell whether it belongs into a cut: sockets do not, nor do devices that only root can make."""
    return not stat.S_ISSOCK(status.st_mode) and (os.geteuid() == 0 or not _is_device(status))


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _encoded(attributes: Mapping[bytes, bytes]) -> dict[str, str]:
    return {os.fsdecode(key): base64.b64encode(value).decode() for key, value in attributes.items()}


def _file_name(number: int) -> bytes:
    return b"big-%d" % number


def _forget(noted: set[bytes] | dict[bytes, str] | dict[bytes, int], path: bytes) -> None:
    if isinstance(noted, set):
        noted.discard(path)
    else:
        noted.pop(path, None)


def _new_file(directory: int, name: bytes) -> int:
    return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
