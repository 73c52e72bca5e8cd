"""Places in the write-ahead log, the files that hold it, and whether such a file is what it should be."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from quiesce.errors import DamagedArtifactError

_LOG_BYTES: Final = 1 << 32
#: of a page: magic, flags, timeline, address
_PAGE: Final = struct.Struct("=HHIQ")


@dataclass(frozen=True, slots=True, order=True)
class Lsn:
    """A place in the write-ahead log."""

    number: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the place that PostgreSQL writes as *text*: ``16/B374D848``.

        Raises:
            DamagedArtifactError: when it is none.
        """
        match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
        if match is None:
            raise DamagedArtifactError(f"{text!r} is no place in a write-ahead log")
        return cls((int(match[1], 16) << 32) + int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.number >> 32:X}/{self.number & (_LOG_BYTES - 1):X}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSegment:
    """One file of the log."""

    timeline: int
    number: int
    size_bytes: int

    @property
    def name(self) -> str:
        """Its file's name."""
        per_log = _LOG_BYTES // self.size_bytes
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"

    @property
    def begins(self) -> int:
        """The first byte's place."""
        return self.number * self.size_bytes

    def checked(self, data: bytes, end: Lsn, page_bytes: int) -> bytes:
        """Return *data*, the file's content, with nothing behind *end*.

        A file that is used again keeps its old content until that is overwritten: each page says where it
        belongs. Only where the log was continued in the next file before this one was full, the rest is zero.

        Raises:
            DamagedArtifactError: when a page before *end* is missing, or of another place.
        """
        used = min(self.size_bytes, end.number - self.begins)
        if len(data) < used:
            raise DamagedArtifactError(f"{self.name} of the write-ahead log is cut short")
        is_last = self.begins + self.size_bytes >= end.number
        for offset in range(0, used, page_bytes):
            _, _, _, place = _PAGE.unpack_from(data, offset)
            left_free = not is_last and not any(data[offset : offset + page_bytes])
            if place != self.begins + offset and not left_free:
                raise DamagedArtifactError(
                    f"{self.name} of the write-ahead log is not what the server wrote before {end}"
                )
        return data[:used].ljust(self.size_bytes, b"\0")


def segments(timeline: int, begin: Lsn, end: Lsn, size_bytes: int) -> Iterator[LogSegment]:
    """Give the files that hold the log from *begin* up to, and without, *end*."""
    for number in range(begin.number // size_bytes, -(-end.number // size_bytes)):
        yield LogSegment(timeline=timeline, number=number, size_bytes=size_bytes)
