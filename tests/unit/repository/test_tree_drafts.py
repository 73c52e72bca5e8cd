"""Trees that are stored entry by entry, and what is told of points without reading content."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from quiesce.errors import DamagedArtifactError
from quiesce.repository import (
    HARD_LINK,
    SPARSE,
    FileKey,
    Point,
    PointItem,
    PointKey,
    Repository,
    TreeDraft,
    TreeEntry,
    kind_of,
)
from quiesce.storage import DirectoryStorage

KEY = PointKey(deployment="shop", point="one", instance="web_1")
MIB = 1 << 20


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(DirectoryStorage(tmp_path / "repository"), FileKey.new())


def fill(tree: TreeDraft, directory: Path, count: int = 3000) -> None:
    """Add one of most kinds, large and small."""
    small, large = directory / "small", directory / "large"
    small.write_bytes(b"".join(b"%06d" % number for number in range(count)))
    with large.open("wb") as file:
        file.write(os.urandom(MIB + 5))
        file.seek(5 * MIB)
        file.write(b"end")
    packed, sparse = os.open(small, os.O_RDONLY), os.open(large, os.O_RDONLY)
    try:
        tree.add(TreeEntry(path=b"", kind=kind_of(stat.S_IFDIR), mode=0o750, mtime_ns=-1_500_000_000))
        for number in range(count):
            entry = TreeEntry(path=b"a%06d" % number, kind=kind_of(stat.S_IFREG), mode=0o600, size_bytes=6)
            tree.add_file(entry, packed, begin=6 * number)
        size_bytes = large.stat().st_size
        tree.add_file(
            TreeEntry(
                path=b"big", kind=kind_of(stat.S_IFREG), mode=0o600, bits=SPARSE, size_bytes=size_bytes
            ),
            sparse,
        )
        tree.add(TreeEntry(path=b"link", kind=kind_of(stat.S_IFLNK), mode=0o777, target=b"nowhere"))
        tree.add(TreeEntry(path=b"other", kind=HARD_LINK, target=b"big"))
        tree.add(TreeEntry(path=b"pipe", kind=kind_of(stat.S_IFIFO), mode=0o600))
    finally:
        os.close(packed)
        os.close(sparse)


def store(repository: Repository, directory: Path, key: PointKey = KEY) -> PointItem:
    with repository.write() as session:
        tree = session.tree()
        fill(tree, directory)
        item = session.end_tree(tree)
        session.commit(Point(key=key, made_at=1.0, items={"data": item}))
    return item


def test_what_was_added_comes_back(repository: Repository, tmp_path: Path) -> None:
    item = store(repository, tmp_path)
    (target := tmp_path / "target").mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        assert not repository.reader(KEY).restore_tree("data", descriptor)
    finally:
        os.close(descriptor)
    assert item.entries == 3005
    assert [(target / f"a{number:06d}").read_bytes() for number in (0, 7, 2999)] == [
        b"000000", b"000007", b"002999",
    ]  # fmt: skip
    assert (target / "big").read_bytes() == (tmp_path / "large").read_bytes()
    assert (target / "big").stat().st_blocks * 512 < 3 * MIB, "holes are holes again"
    assert (target / "other").samefile(target / "big")
    assert os.readlink(target / "link") == "nowhere"
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)
    assert target.stat().st_mtime_ns == -1_500_000_000


def test_a_file_that_is_shorter_than_it_should_be_is_no_content(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "short").write_bytes(b"12345")
    descriptor = os.open(tmp_path / "short", os.O_RDONLY)
    try:
        with repository.write() as session:
            tree, entry = session.tree(), TreeEntry(path=b"f", kind=kind_of(stat.S_IFREG), size_bytes=6)
            with pytest.raises(DamagedArtifactError, match="1 bytes of 'f'"):
                tree.add_file(entry, descriptor)
    finally:
        os.close(descriptor)


def test_the_same_tree_once_more_stores_nothing(repository: Repository, tmp_path: Path) -> None:
    first = store(repository, tmp_path)
    with repository.write() as session:
        tree, size = session.tree(), (tmp_path / "large").stat().st_size
        descriptor = os.open(tmp_path / "large", os.O_RDONLY)
        kind = kind_of(stat.S_IFREG)
        tree.add_file(TreeEntry(path=b"big", kind=kind, bits=SPARSE, size_bytes=size), descriptor)
        os.close(descriptor)
        session.end_tree(tree)
        assert session.figures.new_bytes < 1000
        assert session.rely_on(first)


def packs(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "repository" / "packs").rglob("*") if path.is_file()]


def test_what_lacks_a_pack_is_absent_and_cannot_be_relied_on(repository: Repository, tmp_path: Path) -> None:
    item = store(repository, tmp_path)
    assert repository.absent(repository.points()) == {}
    for path in packs(tmp_path):
        path.unlink()
    assert repository.absent(repository.points()).keys() == {KEY}
    with repository.write() as session:
        assert not session.rely_on(item)


def test_what_was_put_since_is_seen(repository: Repository, tmp_path: Path) -> None:
    store(repository, tmp_path)
    now = time.time()
    assert repository.is_untouched([KEY], now + 60.0)
    assert not repository.is_untouched([KEY], now - 60.0)
    assert not repository.is_untouched([replace(KEY, point="none")], now + 60.0)
    for path in packs(tmp_path):
        os.utime(path, (now + 120.0, now + 120.0))
    assert not repository.is_untouched([KEY], now + 60.0)


def test_what_is_damaged_is_stored_anew_once_it_is_doubted(repository: Repository, tmp_path: Path) -> None:
    content = os.urandom(MIB)
    with repository.write() as session:
        item = session.add_stream([content])
        session.commit(Point(key=KEY, made_at=1.0, items={"s": item}))
    for path in packs(tmp_path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with repository.write() as session:
        session.doubt(item)
        again = session.add_stream([content])
        assert session.figures.new_bytes >= MIB
        session.commit(Point(key=replace(KEY, point="two"), made_at=2.0, items={"s": again}))
    assert b"".join(repository.reader(replace(KEY, point="two")).read("s")) == content
