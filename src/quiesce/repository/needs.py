"""Which blobs a point needs: all of them, since no point builds on another."""

from __future__ import annotations

from collections.abc import Iterator

from quiesce.repository.content import BlobRecord, read_records
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.points import Point, PointItem
from quiesce.repository.trees import needs_of, read_root


def addresses_of(fetcher: BlobFetcher, point: Point, seen: set[bytes] | None = None) -> Iterator[bytes]:
    """Yield the addresses of all blobs that *point* needs, some of them twice.

    Segments and lists that are in *seen* were looked into already; those met are added to it.
    """
    known = set() if seen is None else seen
    for item in point.items.values():
        yield from needs_of_item(fetcher, item, known)


def needs_of_item(fetcher: BlobFetcher, item: PointItem, seen: set[bytes] | None = None) -> Iterator[bytes]:
    """Yield the same of one item."""
    known = set() if seen is None else seen
    yield item.root
    if item.root not in known:
        known.add(item.root)
        yield from _below_root(fetcher, item, known)


def _below_root(fetcher: BlobFetcher, item: PointItem, known: set[bytes]) -> Iterator[bytes]:
    root = fetcher.get(item.root)
    if item.kind != "tree":
        yield from _needs_of_lists(fetcher, read_records(root), known)
        return
    for segment in read_root(root):
        yield segment.address
        if segment.address in known:
            continue
        known.add(segment.address)
        records, lists = needs_of(fetcher.get(segment.address))
        yield from _stored(records)
        yield from _needs_of_lists(fetcher, lists, known)


def _needs_of_lists(fetcher: BlobFetcher, lists: list[BlobRecord], known: set[bytes]) -> Iterator[bytes]:
    for address, _ in lists:
        yield address
        if address not in known:
            known.add(address)
            yield from _stored(read_records(fetcher.get(address)))


def _stored(records: list[BlobRecord]) -> Iterator[bytes]:
    return (record.address for record in records if not record.is_zeros)
