"""Where blobs lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import DamagedArtifactError
from quiesce.repository.index import BlobIndex, PackedBlob, PackId, PackListing, read_listings

#: few different ones, so that buckets are shared and one address is part of the others' neighbours
ADDRESSES = st.integers(0, 5).map(lambda n: bytes([7, 7]) + bytes([n % 3]) * 30)
PACKS = st.lists(
    st.lists(st.tuples(ADDRESSES, st.integers(0, 2**32 - 1), st.integers(29, 2**32 - 1)), max_size=8),
    max_size=5,
)


def listings_of(packs: list[list[tuple[bytes, int, int]]]) -> list[PackListing]:
    return [
        PackListing(PackId(bytes([number]) * 20), [PackedBlob(*blob) for blob in blobs])
        for number, blobs in enumerate(packs)
    ]


@given(PACKS)
def test_every_place_of_every_blob_is_found(packs: list[list[tuple[bytes, int, int]]]) -> None:
    """And no other, as far as its pack is not to be avoided."""
    listings = listings_of(packs)
    index = BlobIndex()
    for listing in listings:
        index.add(listing)
        index.add(listing)
    index.avoid([PackId(bytes(20))])
    for address in {blob[0] for pack in packs for blob in pack}:
        expected = [
            (at.pack, b.offset, b.length) for at in listings for b in at.blobs if b.address == address
        ]
        assert sorted(index.places(address, avoided=True)) == sorted(expected)
        usable = [place for place in expected if place[0] != bytes(20)]
        assert sorted(index.places(address)) == sorted(usable)
    assert index.find(b"\1" * 32) is None


@given(PACKS)
def test_listings_read_as_they_were_written(packs: list[list[tuple[bytes, int, int]]]) -> None:
    """All of them, one after the other."""
    listings = listings_of(packs)
    data = b"".join(listing.as_bytes() for listing in listings)
    assert list(read_listings(data)) == listings
    if data:
        with pytest.raises(DamagedArtifactError):
            list(read_listings(data[:-1]))
