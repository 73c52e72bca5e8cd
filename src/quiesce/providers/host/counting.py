"""What is in a tree: how much, and whether it is still the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass

from quiesce.files.descriptors import open_directory
from quiesce.files.walking import Walk
from quiesce.providers.host.cuts import is_reasonable


@dataclass(slots=True, kw_only=True)
class TreeCount:
    """What is in a tree."""

    files: int = 0
    directories: int = 0
    size_bytes: int = 0


def count_tree(root: int) -> TreeCount:
    """Return what is in an open directory, as far as it can be read; what is mounted inside is left out."""
    count = TreeCount()
    seen: set[tuple[int, int]] = set()
    walk = Walk(root, wanted=is_reasonable)
    with contextlib.closing(walk.entries()) as entries:
        for entry in entries:
            if entry.is_directory:
                count.directories += 1
                continue
            count.files += 1
            number = (entry.status.st_dev, entry.status.st_ino)
            if entry.is_regular and number not in seen:
                seen.add(number)
                count.size_bytes += entry.status.st_size
    return count


def fingerprint_of(directory: int, name: bytes, *, moved: bool = False) -> str:
    """Return what changes as soon as anything of *name*, a tree or a file, does: its content is not read.

    With *moved* it stays the same when *name* itself is renamed.
    """
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    digest = hashlib.sha256(_line(b"", status, moved=moved))
    if stat.S_ISDIR(status.st_mode):
        root = open_directory(directory, name)
        try:
            with contextlib.closing((walk := Walk(root)).entries()) as entries:
                for entry in entries:
                    digest.update(_line(entry.path, entry.status, moved=moved and not entry.path))
        finally:
            os.close(root)
        digest.update(repr((walk.mounts, walk.problems.count)).encode())
    return digest.hexdigest()


def _line(path: bytes, status: os.stat_result, *, moved: bool = False) -> bytes:
    changed_at = 0 if moved else status.st_ctime_ns
    figures = (status.st_mode, status.st_size, status.st_mtime_ns, changed_at, status.st_ino)
    return repr((path, figures)).encode()
