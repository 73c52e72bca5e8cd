"""What a MariaDB server's directories need beside `server_places`, with the rights of their owner."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quiesce.provider_kit.server_places import OPERATIONS, main

#: what mariadb-backup writes about its copy, beside the server's own files
_ABOUT_COPY: Final = ("backup-my.cnf", "xtrabackup_", "mariadb_backup_")
#: tables that were being built
_UNFINISHED: Final = "#sql"
#: InnoDB's log, and how far it was applied: what a join replaces, and cannot be repeated without
_REPLACED: Final = ("ib_logfile0", "xtrabackup_checkpoints")
#: changed pages of a file; all of its pages, when the base has no such file
_CHANGED_PAGES: Final = ".delta"
#: of the first page of a file of InnoDB's, what is never all zero; no page is smaller
_FIRST_BYTES: Final = 1 << 12
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def begin_join(request: Mapping[str, Any]) -> None:
    """Have a step of a join find what it found when it was begun first, however far it came.

    mariadb-backup removes what it has applied. What it applies once more finds itself applied.
    """
    os.fchdir(request["copies"])
    base, kept = Path(request["base"]), Path(request["kept"])
    if not kept.exists():
        _keep(base, kept)
    for path in kept.iterdir():
        shutil.copyfile(path, base / path.name, follow_symlinks=False)
    if request["changes"] is not None:
        _remove_unfinished(base, Path(request["changes"]))
        shutil.rmtree(request["used_up"], ignore_errors=True)
        shutil.copytree(request["changes"], request["used_up"], symlinks=True, copy_function=_link_or_copy)


def _keep(base: Path, kept: Path) -> None:
    unfinished = kept.with_name(f"{kept.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in _REPLACED:
        shutil.copyfile(base / name, unfinished / name, follow_symlinks=False)
    unfinished.rename(kept)


def _remove_unfinished(base: Path, changes: Path) -> None:
    """Remove the files that mariadb-backup had only just made when it was killed.

    It cannot make them again while they are there, nor use them before they have a first page.
    """
    for delta in changes.rglob(f"*{_CHANGED_PAGES}"):
        path = base / delta.relative_to(changes).with_suffix("")
        with contextlib.suppress(FileNotFoundError), open(os.open(path, _READING), "rb") as file:  # noqa: PTH123
            if not any(file.read(_FIRST_BYTES)):
                path.unlink()


def _link_or_copy(source: str, target: str) -> None:
    """Give changed pages another name, where the file system can: mariadb-backup only reads and removes them.

    It moves other files into the base copy, and changes them there.
    """
    if source.endswith(_CHANGED_PAGES):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target, follow_symlinks=False)


def pack(request: Mapping[str, Any]) -> None:
    """Write a copy to standard output as a tar file."""
    copy = request["copy"]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for above, directories, files, descriptor in os.fwalk(copy, dir_fd=request["copies"]):
            directories.sort()
            here = above[len(copy) + 1 :]
            if here and not _is_unfinished(here):
                archive.addfile(_entry(here, os.fstat(descriptor)))
            for name in sorted(files):
                if (here or not name.startswith(_ABOUT_COPY)) and not _is_unfinished(name):
                    _add(archive, descriptor, name, os.path.join(here, name))  # noqa: PTH118  a name, no path


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_UNFINISHED)


def _add(archive: tarfile.TarFile, directory: int, name: str, entry_name: str) -> None:
    with open(os.open(name, _READING, dir_fd=directory), "rb") as source:  # noqa: PTH123  by descriptor
        status = os.fstat(source.fileno())
        if stat.S_ISREG(status.st_mode):
            archive.addfile(_entry(entry_name, status), source)


def _entry(name: str, status: os.stat_result) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = status.st_mtime
    if stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o700
    else:
        entry.size, entry.mode = status.st_size, 0o660
    return entry


if __name__ == "__main__":
    main({**OPERATIONS, "begin_join": begin_join, "pack": pack})
