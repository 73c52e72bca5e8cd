"""What differs between two trees, without reading any content: equal content has equal addresses."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quiesce.repository.trees import TreeEntry, walk_order


class Difference(enum.StrEnum):
    """How one tree has an entry that the other has not, or not so."""

    ADDED = "added"
    REMOVED = "removed"
    #: other content, or another kind of file
    CONTENT = "content"
    #: the same content with other owners, permissions, times, attributes or flags
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDifference:
    """One path that is not the same in both trees."""

    path: bytes
    difference: Difference


def differences(before: Iterable[TreeEntry], after: Iterable[TreeEntry]) -> Iterator[EntryDifference]:
    """Yield what is not the same, in the order of a walk; both trees are of repositories made alike."""
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and walk_order(old.path) < walk_order(new.path)):
            assert old is not None, "one of them is there"  # noqa: S101
            yield EntryDifference(path=old.path, difference=Difference.REMOVED)
            old = next(olds, None)
        elif old is None or old.path != new.path:
            yield EntryDifference(path=new.path, difference=Difference.ADDED)
            new = next(news, None)
        else:
            if (difference := _difference(old, new)) is not None:
                yield EntryDifference(path=new.path, difference=difference)
            old, new = next(olds, None), next(news, None)


def _difference(old: TreeEntry, new: TreeEntry) -> Difference | None:
    if _content(old) != _content(new):
        return Difference.CONTENT
    return Difference.METADATA if _metadata(old) != _metadata(new) else None


def _content(entry: TreeEntry) -> tuple[object, ...]:
    return entry.kind, entry.size_bytes, entry.records, entry.target, entry.device


def _metadata(entry: TreeEntry) -> tuple[object, ...]:
    return entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.attributes, entry.flags
