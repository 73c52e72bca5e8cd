"""Directory trees: what every way of moving one around needs, and a plain copy of one at rest."""

from __future__ import annotations

import ctypes
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from quiesce.providers.host.contents import Told, take_over
from quiesce.providers.host.metadata import EntryMetadata


@dataclass(slots=True, kw_only=True)
class Count:
    """What is in a tree."""

    files: int = 0
    directories: int = 0
    size_bytes: int = 0


def copy_tree(source: Path, target: Path, told: Told) -> None:
    """Copy *source*, a tree at rest, to *target*, which does not exist, with all that its files have."""
    _copy_directory(source, target, told, links={})


def make_special(path: Path, mode: int, device: int) -> bool:
    """Make a pipe or, as root, a device; tell whether it could be made (a socket cannot)."""
    if stat.S_ISFIFO(mode):
        os.mkfifo(path, 0o600)
        return True
    if stat.S_ISSOCK(mode) or os.geteuid() != 0:
        return False
    os.mknod(path, stat.S_IFMT(mode) | 0o600, device)
    return True


def new_file(path: Path) -> int:
    """Return the descriptor of a new, empty, private file."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def sync_tree(root: Path) -> None:
    """Make everything below *root* durable, with all else on its file system."""
    descriptor = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(root))
    finally:
        os.close(descriptor)


def count_tree(root: Path) -> Count:
    """Return what is in a tree, as far as it can be read."""
    count = Count()
    seen: set[tuple[int, int]] = set()
    for directory, _, names in os.walk(root):
        count.directories += 1
        for name in names:
            try:
                status = Path(directory, name).lstat()
            except FileNotFoundError:
                continue
            count.files += 1
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                count.size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return count


def _copy_directory(source: Path, target: Path, told: Told, links: dict[int, Path]) -> None:
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        status = path.lstat()
        first = links.setdefault(status.st_ino, target / path.name) if status.st_nlink > 1 else None
        if stat.S_ISDIR(status.st_mode):
            _copy_directory(path, target / path.name, told, links)
        elif first not in {None, target / path.name}:
            (target / path.name).hardlink_to(str(first))
        else:
            _copy_one(path, target / path.name, status, told)
    EntryMetadata.of(source).give_to(target)


def _copy_one(source: Path, target: Path, status: os.stat_result, told: Told) -> None:
    if stat.S_ISREG(status.st_mode):
        with source.open("rb", buffering=0) as content, os.fdopen(new_file(target), "wb") as copy:
            take_over(content.fileno(), copy.fileno(), status.st_size, told)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink_to(source.readlink())
    elif not make_special(target, status.st_mode, status.st_rdev):
        return
    EntryMetadata.of(source, status).give_to(target)
