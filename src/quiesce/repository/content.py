"""What a file, disk or stream consists of: records of blobs, in order, and lists of those."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from quiesce.errors import DamagedArtifactError
from quiesce.repository.sealing import ADDRESS_BYTES, ZEROS

BLOCK_BYTES: Final = 1 << 20
#: how much content one list tells of, but the last
LIST_BYTES: Final = 4096 * BLOCK_BYTES
_LENGTH: Final = struct.Struct("<I")
RECORD_BYTES: Final = ADDRESS_BYTES + _LENGTH.size
#: more zeros are several records
MOST_ZEROS: Final = 1 << 31


class BlobRecord(NamedTuple):
    """One piece of content: a blob, or zeros that are not stored; in a list of lists, a list."""

    address: bytes
    #: bytes of content; in a list of lists, how many records
    length: int

    @property
    def is_zeros(self) -> bool:
        """Whether there is nothing to be read."""
        return self.address == ZEROS


def zero_blocks(length: int) -> Iterator[BlobRecord]:
    """Yield one record for each block of *length* zeros."""
    for at in range(0, length, BLOCK_BYTES):
        yield BlobRecord(ZEROS, min(BLOCK_BYTES, length - at))


def write_records(records: Iterable[BlobRecord]) -> bytes:
    """Return *records* as they are stored."""
    pack = _LENGTH.pack
    return b"".join([address + pack(length) for address, length in records])


def read_records(data: bytes, begin: int = 0, count: int | None = None) -> list[BlobRecord]:
    """Return what `write_records` wrote, or *count* records from the byte *begin* on.

    Raises:
        DamagedArtifactError: when *data* holds no such records.
    """
    end = len(data) if count is None else begin + count * RECORD_BYTES
    if end > len(data) or (end - begin) % RECORD_BYTES:
        raise DamagedArtifactError("a list of blobs ends in the middle")
    unpack = _LENGTH.unpack_from
    return [
        BlobRecord(data[at : at + ADDRESS_BYTES], unpack(data, at + ADDRESS_BYTES)[0])
        for at in range(begin, end, RECORD_BYTES)
    ]
