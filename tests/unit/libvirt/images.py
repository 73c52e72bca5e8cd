"""A small reader of qcow2 images, which shares nothing with what writes them."""

from __future__ import annotations

import struct
from pathlib import Path


def clusters_of(path: Path) -> dict[int, bytes]:
    """Return what an image holds, by the number of the cluster of the disk."""
    data = path.read_bytes()
    magic, _, _, _, bits, _, _, l1_entries, l1_offset = struct.unpack_from(">IIQIIQIIQ", data)
    assert magic == 0x514649FB
    cluster, per_table, found = 1 << bits, (1 << bits) // 8, {}
    for table, entry in enumerate(struct.unpack_from(f">{l1_entries}Q", data, l1_offset)):
        if place := entry & 0x00FFFFFFFFFFFE00:
            for number, inner in enumerate(struct.unpack_from(f">{per_table}Q", data, place)):
                if begin := inner & 0x00FFFFFFFFFFFE00:
                    found[table * per_table + number] = data[begin : begin + cluster]
    return found


def disk_of(path: Path, size_bytes: int) -> bytes:
    """Return the disk that an image is."""
    disk = bytearray(size_bytes)
    for number, data in clusters_of(path).items():
        begin = number * len(data)
        disk[begin : begin + len(data)] = data[: size_bytes - begin]
    return bytes(disk)
