"""Reads and writes a volume of the lab without asking Cinder: its RBD image, through Ceph's own library.

    disk.py digest VOLUME           prints a checksum over every byte
    disk.py scribble VOLUME SEED    writes patterns here and there
    disk.py write VOLUME NUMBER     fills the place of tokens with one byte
    disk.py read VOLUME             prints that byte; fails when the place does not hold it throughout

Runs in the lab's mount namespace under Debian's Python, which has Ceph's modules.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rados
import rbd

#: where on a disk tokens are written: behind what the guest uses
MIB = 1 << 20
PLACE = 200 * MIB
PIECE = 4 * MIB
ZEROS = bytes(PIECE)


@contextmanager
def image(volume: str) -> Iterator[rbd.Image]:
    """Open the volume's image."""
    with (
        rados.Rados(name="client.cinder", conffile="/etc/ceph/ceph.conf") as cluster,
        cluster.open_ioctx("volumes") as pool,
        rbd.Image(pool, f"volume-{volume}") as opened,
    ):
        yield opened


def digest(volume: str) -> str:
    """Return a checksum of the content; what was never written and what is zero count alike."""
    found = hashlib.sha256()
    with image(volume) as disk:
        size = disk.size()
        found.update(str(size).encode())
        used: set[int] = set()

        def note(start: int, length: int, _exists: bool) -> None:
            used.update(range(start // PIECE, -(-(start + length) // PIECE)))

        disk.diff_iterate(0, size, None, note)
        for number in sorted(used):
            piece = disk.read(number * PIECE, min(PIECE, size - number * PIECE))
            if piece != ZEROS[: len(piece)]:
                found.update(f"{number}:".encode() + piece)
    return found.hexdigest()


def scribble(volume: str, seed: int) -> None:
    """Write eight MiB of different bytes, far apart."""
    with image(volume) as disk:
        for place in range(0, 1000, 125):
            disk.write(bytes([(seed * 31 + place) % 255 + 1]) * MIB, place * MIB)
        disk.flush()


def write(volume: str, number: int) -> None:
    """Fill the place of tokens with *number*."""
    with image(volume) as disk:
        disk.write(bytes([number]) * MIB, PLACE)
        disk.flush()


def read(volume: str) -> int:
    """Return the byte that fills the place of tokens."""
    with image(volume) as disk:
        data = disk.read(PLACE, MIB)
    if set(data) != {data[0]}:
        raise SystemExit("the place holds different bytes")
    return int(data[0])


if __name__ == "__main__":
    verb, name, *numbers = sys.argv[1:]
    answer = {"digest": digest, "scribble": scribble, "write": write, "read": read}[verb](
        name, *map(int, numbers)
    )
    print("" if answer is None else answer)
