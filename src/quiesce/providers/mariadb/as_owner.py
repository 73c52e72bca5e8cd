"""What a MariaDB server's directories need beside `server_places`, with the rights of their owner."""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from collections.abc import Mapping
from typing import Any, Final

from quiesce.provider_kit.server_places import OPERATIONS, main

#: what mariadb-backup writes about its copy, beside the server's own files
_ABOUT_COPY: Final = ("backup-my.cnf", "xtrabackup_", "mariadb_backup_")
#: tables that were being built
_UNFINISHED: Final = "#sql"
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
    main({**OPERATIONS, "pack": pack})
