"""A tree that is stored entry by entry, by who knows it from elsewhere than from a directory."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from typing import Final

from quiesce.errors import DamagedArtifactError
from quiesce.repository.content import BLOCK_BYTES
from quiesce.repository.content_draft import ContentDraft
from quiesce.repository.points import PointItem
from quiesce.repository.saving_trees import read_large
from quiesce.repository.storing import BlobSlot, BlobStore
from quiesce.repository.trees import INDIRECT, Segment, SegmentDraft, TreeEntry, write_root

#: so many entries may wait for their content
_MOST_PENDING: Final = 2048


class TreeDraft:
    """A tree on its way, given in the order of a walk: a directory before what it holds, names sorted."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._draft = SegmentDraft()
        self._segments: list[tuple[bytes, BlobSlot, int]] = []
        self._pending: deque[tuple[TreeEntry, ContentDraft | None]] = deque()
        self._entries = 0
        self._size_bytes = 0

    def add(self, entry: TreeEntry) -> None:
        """Append *entry*, which has no content of its own."""
        self._append(entry, None)

    def add_file(self, entry: TreeEntry, descriptor: int, *, begin: int = 0) -> None:
        """Append a file: its content are *size_bytes* of the open file *descriptor*, from *begin* on.

        Raises:
            DamagedArtifactError: when not so many are there.
        """
        content = ContentDraft(self._store)
        if entry.size_bytes < BLOCK_BYTES:
            content.add(os.pread(descriptor, entry.size_bytes, begin))
        elif begin:
            raise ValueError("only small files lie together in one")
        else:
            read_large(descriptor, entry.size_bytes, content)
        if content.size_bytes != entry.size_bytes:
            missing = entry.size_bytes - content.size_bytes
            raise DamagedArtifactError(f"{missing} bytes of {os.fsdecode(entry.path)!r} are missing")
        self._append(entry, content)

    def end(self) -> PointItem:
        """Return the item; nothing more is added."""
        self._store.push()
        while self._pending:
            self._write(*self._pending.popleft())
        self._end_segment()
        self._store.push()
        segments = [Segment(first, slot.address, entries) for first, slot, entries in self._segments]
        return PointItem(
            kind="tree",
            root=self._store.add_now(write_root(segments)),
            size_bytes=self._size_bytes,
            entries=self._entries,
        )

    def _append(self, entry: TreeEntry, content: ContentDraft | None) -> None:
        self._pending.append((entry, content))
        while len(self._pending) > _MOST_PENDING:
            self._write(*self._pending.popleft())

    def _write(self, entry: TreeEntry, content: ContentDraft | None) -> None:
        if content is not None:
            is_indirect, records = content.finish()
            bits = entry.bits | (INDIRECT if is_indirect else 0)
            entry = replace(entry, bits=bits, records=records)
        self._draft.add(entry)
        self._entries += 1
        self._size_bytes += entry.size_bytes
        if self._draft.is_full:
            self._end_segment()

    def _end_segment(self) -> None:
        draft, self._draft = self._draft, SegmentDraft()
        if draft.entries:
            self._segments.append((draft.first, self._store.add(draft.as_bytes()), draft.entries))
