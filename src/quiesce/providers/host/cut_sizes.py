"""How much the cut of a tree has to take: a walk that reads no content, before anything is frozen."""

from __future__ import annotations

import contextlib
import os

from quiesce.files.walking import Walk
from quiesce.model.cut_size import CutSize
from quiesce.providers.host.cuts import data_bytes, is_packed, is_reasonable


def cut_size_of(root: int, *, shares: bool, beforehand: bool = False) -> CutSize:
    """Return what a cut of an open directory takes, in a file system that *shares* data of files, or not.

    What is copied *beforehand* is compared only; what changes meanwhile nobody knows yet.
    """
    if beforehand:
        with contextlib.closing(Walk(root, wanted=is_reasonable).entries()) as walked:
            return CutSize(compared=sum(1 for _ in walked))
    entries = copied = 0
    seen: set[tuple[int, int]] = set()
    with contextlib.closing(Walk(root, wanted=is_reasonable).entries()) as walked:
        for entry in walked:
            entries += 1
            if not entry.is_regular or not _is_first_name(entry.status, seen):
                continue
            if is_packed(entry.status):
                copied += entry.status.st_size
            elif not shares:
                copied += data_bytes(entry.status)
    return CutSize(entries=entries, copied_bytes=copied)


def _is_first_name(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    if status.st_nlink < 2:
        return True
    number = (status.st_dev, status.st_ino)
    first = number not in seen
    seen.add(number)
    return first
