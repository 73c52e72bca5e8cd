#!/usr/bin/env python3
"""Gets points back out of a quiesce repository, without quiesce: docs/repository-format.md in one file.

Needs Python 3.11, cryptography and zstandard. The repository is a directory; copy a bucket to one first.

    quiesce_reader.py REPOSITORY --key-file FILE list
    quiesce_reader.py REPOSITORY --passphrase-file FILE restore DEPLOYMENT POINT INSTANCE TARGET

TARGET is made. Every tree becomes a directory in it, every disk or stream a file. Run it as root to get
owners, devices and attributes back; what cannot be kept is told, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MOST_BYTES = 1 << 30
ZEROS = bytes(32)
PAGE = 4096
SET_FLAGS = 0x40086602
#: immutable, append-only
LOCKING = 0x30
ENTRY = struct.Struct("<BBIIHIIqIqIQQII")
TYPES = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO,
         "c": stat.S_IFCHR, "b": stat.S_IFBLK}  # fmt: skip


class Damaged(Exception):
    """Something is not what was written."""


def keyed(key: bytes, purpose: bytes, data: bytes, size: int = 32) -> bytes:
    return hashlib.blake2b(data, key=key, person=purpose, digest_size=size).digest()


def unpacked(method: int, data: bytes) -> bytes:
    if method == 0:
        return data
    if method != 1 or not 0 <= zstandard.frame_content_size(data) <= MOST_BYTES:
        raise Damaged("unknown packing")
    return zstandard.ZstdDecompressor().decompress(data)


class Repository:
    def __init__(self, path: Path, credential: tuple[str, bytes]) -> None:
        self.path = path
        config = json.loads((path / "config").read_bytes())
        if (config["format"], config["version"]) != ("quiesce-repository", 1):
            raise Damaged("this is no repository of version 1")
        self.id = bytes.fromhex(config["id"])
        self.master = self.open_keys(*credential)
        self.objects = AESGCM(self.derived(b"quiesce objects"))
        self.ciphers: dict[bytes, AESGCM] = {}
        self.places: dict[bytes, list[tuple[bytes, int, int]]] = {}
        self.read_indexes()

    def derived(self, purpose: bytes, context: bytes = b"") -> bytes:
        return keyed(self.master, purpose, self.id + context)

    def open_keys(self, kind: str, secret: bytes) -> bytes:
        for path in sorted((self.path / "keys").iterdir()):
            body = json.loads(path.read_bytes())
            if body["kind"] != kind or not path.name.startswith(self.id.hex()):
                continue
            salt, sealed, work = bytes.fromhex(body["salt"]), bytes.fromhex(body["sealed"]), body["work"]
            if kind == "file":
                wrapping = keyed(secret, b"quiesce keyfile", salt)
            else:
                wrapping = hashlib.scrypt(secret, salt=salt, n=work, r=8, p=1, maxmem=2**31 - 1, dklen=32)
            try:
                return AESGCM(wrapping).decrypt(sealed[:12], sealed[12:], self.id)[:32]
            except InvalidTag:
                continue
        raise Damaged("no key of the repository is opened by what was given")

    def sealed(self, name: str, data: bytes | None = None) -> bytes:
        """Return what is in a sealed object."""
        data = (self.path / name).read_bytes() if data is None else data
        if data[:8] != b"quiesce1":
            raise Damaged(f"{name} is no sealed object")
        try:
            packed = self.objects.decrypt(data[9:21], data[21:], data[8:9] + name.encode())
        except InvalidTag:
            raise Damaged(f"{name} is not what was written there") from None
        return unpacked(data[8], packed)

    def below(self, folder: str) -> list[str]:
        path = self.path / folder
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        return [f"{folder}/{name}" for name in names if not name.startswith(".")]

    def read_indexes(self) -> None:
        if not all(self.learn(name) for name in self.below("index")):
            for path in sorted((self.path / "packs").glob("*/*")):  # their ends tell the same
                data = path.read_bytes()
                end = data[-12 - int.from_bytes(data[-12:-8], "little") : -12]
                self.learn(f"packs/{path.parent.name}/{path.name}", end)

    def learn(self, name: str, sealed: bytes | None = None) -> bool:
        try:
            data, at = self.sealed(name, sealed), 0
        except Damaged as error:
            print(error, file=sys.stderr)
            return False
        while at < len(data):
            pack, (count,), at = data[at : at + 20], struct.unpack_from("<I", data, at + 20), at + 24
            for _ in range(count):
                offset, length = struct.unpack_from("<II", data, at + 32)
                self.places.setdefault(data[at : at + 32], []).append((pack, offset, length))
                at += 40
        return True

    def blob(self, address: bytes) -> bytes:
        for pack, offset, length in self.places.get(address, []):
            name = pack.hex()
            try:
                with open(self.path / "packs" / name[:2] / name, "rb") as file:
                    file.seek(offset)
                    data = file.read(length)
                packed = self.cipher(pack[:16]).decrypt(data[1:13], data[13:], address + data[:1])
                return unpacked(data[0], packed)
            except (OSError, InvalidTag, IndexError, Damaged):
                continue
        raise Damaged(f"the blob {address.hex()} is lost")

    def cipher(self, writer: bytes) -> AESGCM:
        if writer not in self.ciphers:
            self.ciphers[writer] = AESGCM(self.derived(b"quiesce blobs", writer))
        return self.ciphers[writer]

    def points(self) -> Iterator[dict]:
        for name in self.below("points"):
            try:
                yield json.loads(self.sealed(name))
            except Damaged as error:
                print(error, file=sys.stderr)


def records_of(data: bytes) -> list[tuple[bytes, int]]:
    return list(struct.iter_unpack("<32sI", data))


def listed(repository: Repository, lists: list[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    for address, count in lists:
        records = records_of(repository.blob(address))
        if len(records) != count:
            raise Damaged("a list has another length")
        yield from records


def write_content(repository: Repository, file: int, records: Iterator[tuple[bytes, int]], size: int,
                  *, holes: bool) -> None:  # fmt: skip
    at = 0
    for address, length in records:
        if address != ZEROS:
            data = repository.blob(address)
            if len(data) != length:
                raise Damaged(f"the blob {address.hex()} has another length")
            write_data(file, data, at, holes=holes)
        elif not holes:
            for begin in range(0, length, 1 << 20):
                write_at(file, bytes(min(1 << 20, length - begin)), at + begin)
        at += length
    if at != size:
        raise Damaged(f"{at} bytes came where there should be {size}")
    os.ftruncate(file, size)


def write_data(file: int, data: bytes, at: int, *, holes: bool) -> None:
    if not holes:
        write_at(file, data, at)
        return
    for begin in range(0, len(data), PAGE):
        piece = data[begin : begin + PAGE]
        if piece.strip(b"\0"):
            write_at(file, piece, at + begin)


def write_at(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


class Entry:
    """One entry of a tree, and where the next one begins."""

    def __init__(self, data: bytes, at: int, previous: bytes) -> None:
        (kind, self.bits, shared, rest, self.mode, self.uid, self.gid, seconds, nanoseconds,
         _, _, _, self.size, self.flags, self.count) = ENTRY.unpack_from(data, at)  # fmt: skip
        self.data, self.at = data, at + ENTRY.size
        self.kind = chr(kind)
        self.path = previous[:shared] + self.take(rest)
        self.mtime_ns = seconds * 10**9 + nanoseconds
        self.attributes = dict(self.read_attributes()) if self.bits & 4 else {}
        self.device = struct.unpack("<II", self.take(8)) if self.kind in "cb" else (0, 0)
        self.target = self.take(self.number("<I")) if self.kind in "lh" else b""
        self.records: list[tuple[bytes, int]] = []

    def take(self, length: int) -> bytes:
        taken = self.data[self.at : self.at + length]
        if len(taken) != length:
            raise Damaged("a segment ends in the middle")
        self.at += length
        return taken

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def read_attributes(self) -> Iterator[tuple[bytes, bytes]]:
        for _ in range(self.number("<H")):
            name = self.take(self.number("<H"))
            yield name, self.take(self.number("<I"))


def entries_of(repository: Repository, root: bytes) -> Iterator[Entry]:
    data, at = repository.blob(root), 0
    while at < len(data):
        length, _ = struct.unpack_from("<II", data, at)
        yield from segment_of(repository.blob(data[at + 8 : at + 40]))
        at += 40 + length


def segment_of(data: bytes) -> Iterator[Entry]:
    count, direct, lists = struct.unpack_from("<III", data)
    middle, at, previous = 12 + 36 * direct, 12 + 36 * (direct + lists), b""
    sources = iter(records_of(data[12:middle])), iter(records_of(data[middle:at]))
    for _ in range(count):
        entry = Entry(data, at, previous)
        source = sources[1 if entry.bits & 2 else 0]
        entry.records = [next(source) for _ in range(entry.count)]
        at, previous = entry.at, entry.path
        yield entry


class Tree:
    """Writes one tree. The target is private until the end, so names need not be opened step by step."""

    def __init__(self, repository: Repository, target: bytes) -> None:
        self.repository, self.target = repository, target
        self.directories: list[Entry] = []
        self.locked: list[tuple[bytes, int]] = []
        self.problems = 0

    def restore(self, root: bytes) -> int:
        made: set[bytes] = set()
        for entry in entries_of(self.repository, root):
            self.check(entry.path, made)
            self.make(entry)
            if entry.kind == "d":
                made.add(entry.path)
                self.directories.append(entry)
        for entry in reversed(self.directories):
            self.finish(entry, self.place(entry.path))
        for path, flags in self.locked:
            self.set_flags(path, flags)
        return self.problems

    def place(self, path: bytes) -> bytes:
        return self.target + b"/" + path if path else self.target

    def check(self, path: bytes, made: set[bytes]) -> None:
        """Refuse what does not belong directly into a directory that was made here."""
        names = path.split(b"/") if path else []
        if any(name in {b"", b".", b".."} or b"\0" in name for name in names):
            raise Damaged(f"{path!r} leads elsewhere")
        if names and path.rpartition(b"/")[0] not in made:
            raise Damaged(f"{path!r} comes before its directory")

    def make(self, entry: Entry) -> None:
        path = self.place(entry.path)
        if entry.kind == "h":
            os.link(self.place(entry.target), path, follow_symlinks=False)
            return
        if entry.kind == "d":
            os.mkdir(path, 0o700)
            return
        if entry.kind == "f":
            self.make_file(entry, path)
        elif entry.kind == "l":
            os.symlink(entry.target, path)
        elif not self.make_special(entry, path):
            return
        self.finish(entry, path)

    def make_file(self, entry: Entry, path: bytes) -> None:
        records = listed(self.repository, entry.records) if entry.bits & 2 else iter(entry.records)
        with open(path, "xb") as file:
            write_content(self.repository, file.fileno(), records, entry.size, holes=bool(entry.bits & 1))

    def make_special(self, entry: Entry, path: bytes) -> bool:
        try:
            os.mknod(path, TYPES[entry.kind] | 0o600, os.makedev(*entry.device))
        except OSError as error:
            self.tell(path, error)
            return False
        return True

    def finish(self, entry: Entry, path: bytes) -> None:
        """Give an entry its owner, attributes, permissions and time, in this order."""
        try:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        except OSError as error:
            self.tell(path, error)
        for name, value in entry.attributes.items():
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                self.tell(path, error)
        if entry.kind != "l":
            os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        if entry.flags & ~LOCKING:
            self.set_flags(path, entry.flags & ~LOCKING)
        if entry.flags & LOCKING:
            self.locked.append((path, entry.flags))

    def set_flags(self, path: bytes, flags: int) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.ioctl(file, SET_FLAGS, struct.pack("Ii", flags, 0))
            finally:
                os.close(file)
        except OSError as error:
            self.tell(path, error)

    def tell(self, path: bytes, error: OSError) -> None:
        self.problems += 1
        print(f"{os.fsdecode(path)!r}: {error.strerror}", file=sys.stderr)


def restore(repository: Repository, wanted: tuple[str, str, str], target: Path) -> int:
    """Restore all items of one point; return how much could not be kept."""
    keys = ("deployment", "point", "instance")
    point = next((p for p in repository.points() if tuple(p[key] for key in keys) == wanted), None)
    if point is None:
        raise Damaged(f"there is no point {'/'.join(wanted)}")
    target.mkdir(mode=0o700)
    problems = 0
    for name, item in point["items"].items():
        if "/" in name or name in {"", ".", ".."}:
            raise Damaged(f"{name!r} leads elsewhere")
        place, root = os.fsencode(target / name), bytes.fromhex(item["root"])
        if item["kind"] == "tree":
            problems += Tree(repository, place).restore(root)
            continue
        records = listed(repository, records_of(repository.blob(root)))
        with open(place, "xb") as file:
            write_content(repository, file.fileno(), records, item["size_bytes"], holes=True)
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("repository", type=Path)
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file", type=Path)
    key.add_argument("--passphrase-file", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    restoring = commands.add_parser("restore")
    for name in ("deployment", "point", "instance"):
        restoring.add_argument(name)
    restoring.add_argument("target", type=Path)
    asked = parser.parse_args()
    os.umask(0o077)
    if asked.key_file:
        credential = "file", bytes.fromhex(asked.key_file.read_text().removeprefix("quiesce-key-1 ").strip())
    else:
        credential = "passphrase", asked.passphrase_file.read_bytes().removesuffix(b"\n")
    try:
        repository = Repository(asked.repository, credential)
        if asked.command == "restore":
            wanted = asked.deployment, asked.point, asked.instance
            return int(restore(repository, wanted, asked.target) > 0)
        for point in sorted(repository.points(), key=lambda point: point["made_at"]):
            items = ", ".join(f"{name} ({item['kind']})" for name, item in point["items"].items())
            print(point["deployment"], point["point"], point["instance"] or "-", items)
    except Damaged as error:
        print(f"quiesce_reader: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
