"""The cut of a tree: made fast while writers are stopped, assembled to a tree again afterwards.

Making a file costs far more than reading one, so small files go into one *pack* one after the other; big
ones become files, which share their data with the original where the file system can. An *index* says
what is where. Assembling happens after the thaw.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from quiesce.errors import UnsupportedError
from quiesce.providers.host.contents import Told, take_over
from quiesce.providers.host.metadata import EntryMetadata
from quiesce.providers.host.snapshot_dir import remove
from quiesce.providers.host.trees import make_special, new_file

#: up to here reading and writing cost less than making a file
SMALL_BYTES: Final = 256 << 10
_BLOCK_BYTES: Final = 512
_BUFFER_BYTES: Final = 1 << 20
#: an index that SQLite keeps in shared memory and makes anew; readers change it while nothing is written
_NOT_DATA: Final = "-shm"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a cut has met."""

    entries: int = 0
    size_bytes: int = 0
    #: bytes of big files that had to be copied because they could not be shared
    copied_bytes: int = 0
    #: sockets and, without root, devices: they are not data and are left out
    left_out: list[str] = field(default_factory=list)
    #: what was written to, made or removed meanwhile
    changed: list[str] = field(default_factory=list)


def cut_tree(source: Path, directory: Path, told: Told) -> Tally:
    """Take the tree at *source* into *directory*, which does not exist, as it is now.

    Raises:
        UnsupportedError: when another file system is mounted inside *source*.
    """
    directory.mkdir(mode=0o700)
    with (
        os.fdopen(new_file(directory / "index"), "w") as index,
        os.fdopen(new_file(directory / "pack"), "wb", buffering=_BUFFER_BYTES) as pack,
    ):
        return _Cutter(source, directory, index, pack, told).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEntry:
    """One file, directory, link or device of a cut."""

    #: relative to the tree's root, whose own is empty
    name: str
    metadata: EntryMetadata
    #: another name of the file that this is a hard link to
    link: str | None = None
    #: what a symbolic link points to
    target: str | None = None
    device: int = 0
    #: the file that holds the content, whole or from *offset* on
    file: Path | None = None
    offset: int = 0
    size_bytes: int = 0
    packed: bool = False


def entries_of(directory: Path) -> Iterator[CutEntry]:
    """Yield everything that `cut_tree` took into *directory*, a directory right before what it holds."""
    with (directory / "index").open() as index:
        for line in index:
            yield _entry(directory, json.loads(line))


def assemble(directory: Path, target: Path, told: Told) -> None:
    """Make *target* the tree that `cut_tree` took into *directory*, which is spent by it.

    After a crash it may be called again.
    """
    remove(target)
    directories: list[CutEntry] = []
    with (directory / "pack").open("rb", buffering=0) as pack:
        for entry in entries_of(directory):
            _make(entry, target, pack.fileno())
            told(entry.size_bytes)
            if stat.S_ISDIR(entry.metadata.mode):
                directories.append(entry)
            elif entry.link is None:
                entry.metadata.give_to(target / entry.name)
    for entry in reversed(directories):
        entry.metadata.give_to(target / entry.name)


class _Cutter:
    def __init__(self, source: Path, directory: Path, index: IO[str], pack: IO[bytes], told: Told) -> None:
        self._source = os.fspath(source)
        self._directory = directory
        self._index = index
        self._pack = pack
        self._told = told
        self._tally = Tally()
        self._links: dict[int, str] = {}
        self._device = source.stat().st_dev
        self._offset = 0
        self._big = 0

    def run(self) -> Tally:
        self._take_directory(self._source, "", Path(self._source).stat())
        return self._tally

    def _take_directory(self, path: str, name: str, before: os.stat_result) -> None:
        if before.st_dev != self._device:
            raise UnsupportedError(
                f"another file system is mounted on {path}, inside what is to be saved",
                hint="Give it a Directory node of its own, beside this one.",
            )
        self._write(name, EntryMetadata.of(Path(path), before))
        prefix = f"{name}/" if name else ""
        with os.scandir(path) as entries:
            for entry in entries:
                self._take(entry, f"{prefix}{entry.name}")
        self._compare(name, before, Path(path).stat())

    def _take(self, entry: os.DirEntry[str], name: str) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._take_directory(entry.path, name, status)
            elif stat.S_ISREG(status.st_mode):
                self._take_file(entry.path, name, status)
            else:
                self._take_special(entry.path, name, status)
        except FileNotFoundError:
            self._tally.changed.append(name)

    def _take_file(self, path: str, name: str, before: os.stat_result) -> None:
        if before.st_nlink > 1 and (first := self._links.setdefault(before.st_ino, name)) != name:
            self._write(name, EntryMetadata.of(Path(path), before), link=first)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            metadata = EntryMetadata.of(descriptor, before)
            if before.st_size <= SMALL_BYTES and before.st_blocks * _BLOCK_BYTES >= before.st_size:
                self._pack_content(descriptor, name, metadata)
            else:
                self._take_content(descriptor, name, metadata, before.st_size)
            self._compare(name, before, os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self._tally.size_bytes += before.st_size

    def _pack_content(self, descriptor: int, name: str, metadata: EntryMetadata) -> None:
        data = os.read(descriptor, SMALL_BYTES + 1)
        self._pack.write(data)
        self._write(name, metadata, offset=self._offset, size=len(data))
        self._offset += len(data)
        self._told(len(data))

    def _take_content(self, descriptor: int, name: str, metadata: EntryMetadata, size_bytes: int) -> None:
        self._big += 1
        target = new_file(self._directory / f"big-{self._big}")
        try:
            self._tally.copied_bytes += take_over(descriptor, target, size_bytes, self._told)
        finally:
            os.close(target)
        self._write(name, metadata, big=self._big, size=size_bytes)

    def _take_special(self, path: str, name: str, status: os.stat_result) -> None:
        metadata = EntryMetadata.of(Path(path), status)
        if stat.S_ISLNK(status.st_mode):
            self._write(name, metadata, target=str(Path(path).readlink()))
        elif stat.S_ISSOCK(status.st_mode) or (not stat.S_ISFIFO(status.st_mode) and os.geteuid() != 0):
            self._tally.left_out.append(name)
        else:
            self._write(name, metadata, device=status.st_rdev)

    def _write(self, name: str, metadata: EntryMetadata, **more: object) -> None:
        entry = {
            "path": name,
            "mode": metadata.mode,
            "uid": metadata.uid,
            "gid": metadata.gid,
            "mtime_ns": metadata.mtime_ns,
            **more,
        }
        if metadata.attributes:
            entry["attributes"] = {
                key: base64.b64encode(value).decode() for key, value in metadata.attributes.items()
            }
        self._index.write(json.dumps(entry) + "\n")
        self._tally.entries += 1

    def _compare(self, name: str, before: os.stat_result, after: os.stat_result) -> None:
        if not name.endswith(_NOT_DATA) and _version(before) != _version(after):
            self._tally.changed.append(name or ".")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _make(entry: CutEntry, root: Path, pack: int) -> None:
    path, mode = root / entry.name, entry.metadata.mode
    if stat.S_ISDIR(mode):
        path.mkdir(mode=0o700)
    elif entry.target is not None:
        path.symlink_to(entry.target)
    elif entry.link is not None:
        path.hardlink_to(root / entry.link)
    elif entry.file is None:
        make_special(path, mode, entry.device)
    elif entry.packed:
        with os.fdopen(new_file(path), "wb", buffering=0) as file:
            file.write(os.pread(pack, entry.size_bytes, entry.offset))
    else:
        path.hardlink_to(entry.file)


def _entry(directory: Path, line: dict[str, Any]) -> CutEntry:
    big = line.get("big")
    packed = directory / "pack" if "offset" in line else None
    return CutEntry(
        name=line["path"],
        metadata=EntryMetadata(
            mode=line["mode"],
            uid=line["uid"],
            gid=line["gid"],
            mtime_ns=line["mtime_ns"],
            attributes={key: base64.b64decode(value) for key, value in line.get("attributes", {}).items()},
        ),
        link=line.get("link"),
        target=line.get("target"),
        device=line.get("device", 0),
        file=packed if big is None else directory / f"big-{big}",
        offset=line.get("offset", 0),
        size_bytes=line.get("size", 0),
        packed=packed is not None,
    )
