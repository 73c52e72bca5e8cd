"""What is stored may announce or unpack to any size: no more of it is believed than was cut."""

from __future__ import annotations

import io
import json
import os
import resource
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import DamagedArtifactError
from quiesce.files.descriptors import DIRECTORY
from quiesce.files.metadata import Allowed
from quiesce.providers.host import archive, cuts
from quiesce.providers.host.archive import TreeSize

HUGE = 1 << 60


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "place").mkdir(mode=0o700)
    descriptor = os.open(tmp_path / "place", DIRECTORY)
    yield descriptor
    os.close(descriptor)


def saved(tmp_path: Path) -> tuple[bytes, bytes, TreeSize]:
    """Return index and archive of a tree with a file that is one hole, and its size."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "cut").mkdir()
    with (tmp_path / "tree/hole").open("wb") as file:
        file.truncate(1 << 22)
    source, cut = os.open(tmp_path / "tree", DIRECTORY), os.open(tmp_path / "cut", DIRECTORY)
    tally = cuts.cut_tree(source, cut, b"raw", lambda _: None)
    raw = os.open(tmp_path / "cut/raw", DIRECTORY)
    index, stored = io.BytesIO(), io.BytesIO()
    archive.write_index(raw, index)
    archive.write_archive(raw, stored, lambda _: None)
    for descriptor in (source, cut, raw):
        os.close(descriptor)
    size = TreeSize(entries=tally.entries, size_bytes=tally.size_bytes)
    return index.getvalue(), stored.getvalue(), size


def unpack(place: int, index: bytes, stored: bytes, size: TreeSize) -> None:
    archive.read_archive(io.BytesIO(index), io.BytesIO(stored), place, b"content", Allowed(), at_most=size)


def sparse(table: bytes, real_size: int) -> bytes:
    """Return an archive with one file that is said to have holes where *table* leaves them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        root = tarfile.TarInfo(".")
        root.type = tarfile.DIRTYPE
        tar.addfile(root)
        member = tarfile.TarInfo("hole")
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "hole",
            "GNU.sparse.realsize": str(real_size),
        }
        member.size = len(table)
        tar.addfile(member, io.BytesIO(table))
    return out.getvalue()


def padded(table: bytes) -> bytes:
    return table + bytes(-len(table) % tarfile.BLOCKSIZE)


def test_a_file_of_holes_that_was_never_cut_is_refused_before_it_is_written(
    place: int, tmp_path: Path
) -> None:
    """Writing it would last longer than anybody lives."""
    index, stored, size = saved(tmp_path)
    unpack(place, index, stored, size)
    lines = [json.loads(line) for line in index.splitlines()]
    lines[-1]["size"] = HUGE
    forged = "".join(json.dumps(line) + "\n" for line in lines).encode()
    os.rename("content", "first", src_dir_fd=place, dst_dir_fd=place)
    bomb = sparse(padded(b"1\n%d\n0\n" % HUGE), HUGE)
    with pytest.raises(DamagedArtifactError, match="more than was cut"):
        unpack(place, forged, bomb, size)
    with (tmp_path / "one").open("wb") as one, pytest.raises(DamagedArtifactError, match="more than was cut"):
        archive.read_one_file(io.BytesIO(forged), io.BytesIO(bomb), b"hole", one.fileno(), at_most=size)


def test_entries_that_were_never_cut_are_refused(place: int, tmp_path: Path) -> None:
    index, stored, size = saved(tmp_path)
    lines = [json.loads(line) for line in index.splitlines()]
    more = [{**lines[0], "path": f"d{number}"} for number in range(3)]
    forged = "".join(json.dumps(line) + "\n" for line in [lines[0], *more]).encode()
    with pytest.raises(DamagedArtifactError, match="more than was cut"):
        unpack(place, forged, stored, size)


@pytest.mark.parametrize(
    "table",
    [b"%d\n" % (1 << 40) + b"0\n" * (1 << 24), b"9" * (1 << 22), b"-1\n", b"2\n0\n", b"nonsense\n"],
    ids=["many", "long", "negative", "short", "nonsense"],
)
def test_a_table_of_holes_fills_no_memory(place: int, tmp_path: Path, table: bytes) -> None:
    index, _, size = saved(tmp_path)
    stored = sparse(padded(table), 1 << 22)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedArtifactError):
        unpack(place, index, stored, size)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * 1024
