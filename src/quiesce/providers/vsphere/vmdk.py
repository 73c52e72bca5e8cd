"""Stream-optimised VMDK: the form in which vSphere hands disks out and takes them in.

A header, a text descriptor, then compressed *grains* of 64 KiB in ascending order, each behind a marker
with its address, mixed with tables; a footer and an end-of-stream marker come last. Grains that are left
out are zero. The format is VMware's "Virtual Disk Format 5.0".
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from quiesce.errors import DamagedArtifactError

SECTOR: Final = 512
GRAIN: Final = 64 << 10

_GRAIN_SECTORS: Final = GRAIN // SECTOR
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_MAGIC: Final = b"KDMV"
_VERSION: Final = 3
#: line ends can be checked, grains are compressed, markers are used
_FLAGS: Final = 0x30001
_TABLE_AT_END: Final = 0xFFFFFFFFFFFFFFFF
_ENTRIES: Final = 512
_MARKER: Final = struct.Struct("<QI")
_KIND: Final = struct.Struct("<I")
_END_OF_STREAM, _TABLE, _DIRECTORY, _FOOTER = range(4)
_OVERHEAD_SECTORS: Final = 128
_DESCRIPTOR_SECTORS: Final = 20


class ByteSink(Protocol):
    """What a disk is written to."""

    def write(self, data: bytes, /) -> object:
        """Take *data*."""
        ...


@dataclass(frozen=True, slots=True)
class Grain:
    """64 KiB of a disk, compressed."""

    #: its place on the disk, in grains
    number: int
    compressed: bytes

    @classmethod
    def of(cls, number: int, plain: bytes) -> Grain:
        """Return the grain of that content; what is missing at the end of a disk is zero."""
        return cls(number, zlib.compress(plain.ljust(GRAIN, b"\0"), 1))

    def plain(self) -> bytes:
        """Return its 64 KiB.

        Raises:
            DamagedArtifactError: when it cannot be decompressed.
        """
        try:
            # never more than fits, whatever it would become
            stream = zlib.decompressobj()
            plain = stream.decompress(self.compressed, GRAIN + 1)
        except zlib.error as error:
            raise DamagedArtifactError(f"the disk's grain {self.number} is damaged: {error}") from error
        if len(plain) > GRAIN or not stream.eof:
            raise DamagedArtifactError(f"the disk's grain {self.number} is not as long as a grain")
        return plain.ljust(GRAIN, b"\0")


class VmdkReader:
    """Reads a disk from *pieces* as they come; nothing is kept in memory."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._source = _Source(pieces)
        header = _HEADER.unpack(self._source.take(SECTOR))
        if header[0] != _MAGIC or not header[2] & 0x20000 or header[4] != _GRAIN_SECTORS:
            raise DamagedArtifactError("this is not a stream-optimised VMDK")
        self.capacity_bytes: int = header[3] * SECTOR
        self._source.skip((int(header[10]) - 1) * SECTOR)

    def grains(self) -> Iterator[Grain]:
        """Return every grain that is stored, in ascending order; ends at the end-of-stream marker.

        Raises:
            DamagedArtifactError: when the stream ends before its end, or makes no sense.
        """
        while True:
            sector = self._source.take(SECTOR)
            value, size = _MARKER.unpack_from(sector)
            if size:
                yield self._grain(value, size, sector)
            elif (kind := _KIND.unpack_from(sector, _MARKER.size)[0]) == _END_OF_STREAM:
                return
            elif kind <= _FOOTER:
                self._source.skip(value * SECTOR)
            else:
                raise DamagedArtifactError(f"the disk has a marker of the unknown kind {kind}")

    def _grain(self, address: int, size: int, sector: bytes) -> Grain:
        if address % _GRAIN_SECTORS or size > 2 * GRAIN:
            raise DamagedArtifactError(f"the disk has a grain at the impossible address {address}")
        start = sector[_MARKER.size :]
        more = _rounded(max(0, size - len(start)))
        return Grain(address // _GRAIN_SECTORS, (start + self._source.take(more))[:size])


class VmdkWriter:
    """Writes a disk to *sink*; grains come in ascending order, then `finish`."""

    def __init__(self, sink: ByteSink, capacity_bytes: int) -> None:
        self._sink = sink
        self._capacity_sectors = _rounded(capacity_bytes) // SECTOR
        self._at = 0
        self._table: list[int] = [0] * _ENTRIES
        self._directory = [0] * -(-self._capacity_sectors // (_GRAIN_SECTORS * _ENTRIES))
        self._last = -1
        self._put(self._header(_TABLE_AT_END))
        self._put(self._descriptor().ljust((_OVERHEAD_SECTORS - 1) * SECTOR, b"\0"))

    def add(self, grain: Grain) -> None:
        """Write one grain."""
        if grain.number <= self._last or grain.number * _GRAIN_SECTORS >= self._capacity_sectors:
            raise DamagedArtifactError(f"grain {grain.number} comes out of order")
        if self._last >= 0 and grain.number // _ENTRIES != self._last // _ENTRIES:
            self._put_table()
        self._last = grain.number
        self._table[grain.number % _ENTRIES] = self._at // SECTOR
        self._put(_MARKER.pack(grain.number * _GRAIN_SECTORS, len(grain.compressed)) + grain.compressed)

    def finish(self) -> None:
        """Write the tables, the footer and the end."""
        self._put_table()
        directory = struct.pack(f"<{len(self._directory)}I", *self._directory)
        self._put_marked(_DIRECTORY, directory)
        at_sector = (self._at - _rounded(len(directory))) // SECTOR
        self._put_marked(_FOOTER, self._header(at_sector))
        self._put(bytes(SECTOR))

    def _put_table(self) -> None:
        if any(self._table):
            self._directory[self._last // _ENTRIES] = self._at // SECTOR + 1
            self._put_marked(_TABLE, struct.pack(f"<{_ENTRIES}I", *self._table))
            self._table = [0] * _ENTRIES

    def _put_marked(self, kind: int, data: bytes) -> None:
        self._put(_MARKER.pack(_rounded(len(data)) // SECTOR, 0) + _KIND.pack(kind))
        self._put(data)

    def _put(self, data: bytes) -> None:
        padded = data.ljust(_rounded(len(data)), b"\0")
        self._sink.write(padded)
        self._at += len(padded)

    def _header(self, directory: int) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            _FLAGS,
            self._capacity_sectors,
            _GRAIN_SECTORS,
            1,
            _DESCRIPTOR_SECTORS,
            _ENTRIES,
            0,
            directory,
            _OVERHEAD_SECTORS,
            0,
            b"\n \r\n",
            1,
        )

    def _descriptor(self) -> bytes:
        cylinders = max(1, min(65535, self._capacity_sectors // (255 * 63)))
        return (
            "# Disk DescriptorFile\n"
            "version=1\n"
            f"CID={zlib.crc32(str(self._capacity_sectors).encode()):08x}\n"
            "parentCID=ffffffff\n"
            'createType="streamOptimized"\n'
            "# Extent description\n"
            f'RW {self._capacity_sectors} SPARSE "disk.vmdk"\n'
            "# The Disk Data Base\n"
            "#DDB\n"
            'ddb.adapterType = "lsilogic"\n'
            f'ddb.geometry.cylinders = "{cylinders}"\n'
            'ddb.geometry.heads = "255"\n'
            'ddb.geometry.sectors = "63"\n'
            'ddb.virtualHWVersion = "13"\n'
        ).encode()


def merge(base: Iterable[Grain], changed: Iterable[Grain]) -> Iterator[Grain]:
    """Return *base* with the grains of *changed* put in or replaced; both and the answer ascend."""
    newer = iter(changed)
    ahead = next(newer, None)
    for grain in base:
        while ahead is not None and ahead.number < grain.number:
            yield ahead
            ahead = next(newer, None)
        if ahead is not None and ahead.number == grain.number:
            grain, ahead = ahead, next(newer, None)  # noqa: PLW2901  the newer one takes its place
        yield grain
    if ahead is not None:
        yield ahead
        yield from newer


def grains_of(start: int, plain: bytes) -> Iterator[Grain]:
    """Return the grains of a piece of disk that begins at byte *start*, a multiple of the grain size."""
    for offset in range(0, len(plain), GRAIN):
        yield Grain.of((start + offset) // GRAIN, plain[offset : offset + GRAIN])


def write_disk(sink: ByteSink, capacity_bytes: int, grains: Iterable[Grain]) -> None:
    """Write a whole disk."""
    writer = VmdkWriter(sink, capacity_bytes)
    for grain in grains:
        writer.add(grain)
    writer.finish()


class Sha1Tee(Iterator[bytes]):
    """Passes *pieces* on; each is in *sink* before the next is asked for, and is hashed on the way."""

    def __init__(self, pieces: Iterable[bytes], sink: ByteSink) -> None:
        # not for security: it is what the platform compares with
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._pieces = iter(pieces)
        self._sink = sink

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self._hash.update(piece)
        self._sink.write(piece)
        return piece

    def hexdigest(self) -> str:
        """Return the checksum of everything that has passed."""
        return self._hash.hexdigest()


class _Source:
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._ready = bytearray()

    def take(self, size: int) -> bytes:
        while len(self._ready) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise DamagedArtifactError("the disk ends before its end-of-stream marker")
            self._ready += piece
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def skip(self, size: int) -> None:
        """Pass over *size* bytes, however many, without keeping them."""
        while size > 0:
            step = min(size, GRAIN)
            self.take(step)
            size -= step


def _rounded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR
