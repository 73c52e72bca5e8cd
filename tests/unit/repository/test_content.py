"""Disks and streams come back as they were, and are cut where the format says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.errors import DamagedArtifactError, ForeignObjectError
from quiesce.repository import PointItem, PointKey
from quiesce.repository.content import BLOCK_BYTES, LIST_BYTES

from .conftest import Scene, make_scene

PATTERNS = [os.urandom(BLOCK_BYTES), b"text " * (BLOCK_BYTES // 5) + b"x", bytes(BLOCK_BYTES)]
BLOCKS = st.lists(st.sampled_from(range(3)), max_size=6)
TAIL = st.integers(0, 3000)


def content_of(blocks: list[int], tail: int) -> bytes:
    return b"".join(PATTERNS[block] for block in blocks) + b"\1" * tail


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@settings(max_examples=20)
@given(
    BLOCKS, TAIL, st.integers(1000, 3 * BLOCK_BYTES), st.integers(0, 4 * BLOCK_BYTES), st.integers(0, 9000)
)
def test_a_stream_reads_as_it_came(blocks: list[int], tail: int, size: int, offset: int, length: int) -> None:
    """Whole, and any part of it, in whatever pieces it came."""
    scene, data = make_scene(), content_of(blocks, tail)
    with scene.repository.write() as session:
        reader = scene.commit(session, "one", dump=session.add_stream(in_pieces(data, size)))
    assert b"".join(reader.read("dump")) == data
    assert b"".join(reader.read("dump", offset, length)) == data[offset : offset + length]


@settings(max_examples=20)
@given(BLOCKS, BLOCKS, TAIL, st.data())
def test_a_disk_is_stored_by_what_has_changed(
    before: list[int], after: list[int], tail: int, data: st.DataObject
) -> None:
    """Told exactly where it changed, or more than that, it is as it is now; the rest is not read."""
    scene, old = make_scene(), content_of(before, tail)
    blocks = [
        after[n] if n < len(after) and data.draw(st.booleans()) else block for n, block in enumerate(before)
    ]
    new = content_of(blocks, tail)
    changed = [(n * BLOCK_BYTES + 7, 9) for n, block in enumerate(blocks) if block != before[n]]
    asked = []

    def read(offset: int, length: int) -> bytes:
        asked.append(offset)
        return new[offset : offset + length]

    with scene.repository.write() as session:
        first = session.add_disk(len(old), lambda offset, length: old[offset : offset + length])
        scene.commit(session, "one", old=first)
        second = session.add_disk(len(new), read, data=changed, previous=first)
        reader = scene.commit(session, "two", old=first, new=second)
    assert asked == [offset - 7 for offset, _ in changed]
    assert b"".join(reader.read("old")) == old
    assert b"".join(reader.read("new")) == new


def test_a_disk_that_grew_is_read_whole(scene: Scene) -> None:
    """Its last block was shorter, so nothing can be taken over by its place."""
    old, new = content_of([0], 100), content_of([0, 1], 300)
    with scene.repository.write() as session:
        first = session.add_disk(len(old), lambda offset, length: old[offset : offset + length])
        second = session.add_disk(len(new), lambda o, n: new[o : o + n], data=[], previous=first)
        reader = scene.commit(session, "one", new=second)
    assert b"".join(reader.read("new")) == new


def test_nothing_of_a_huge_empty_disk_is_stored(scene: Scene, tmp_path: Path) -> None:
    """Holes are neither read nor stored, and come back as holes."""
    size, place = 3 * LIST_BYTES + 5 * BLOCK_BYTES, 2 * LIST_BYTES + BLOCK_BYTES
    with scene.repository.write() as session:
        item = session.add_disk(size, lambda _, length: b"\7" * length, data=[(place, 1)])
        reader = scene.commit(session, "one", disk=item)
        assert session.figures.new_bytes < 3 * BLOCK_BYTES
    target = tmp_path / "disk"
    with target.open("w+b") as file:
        file.truncate(size)
        reader.restore_disk("disk", file.fileno(), is_zero=True)
        file.seek(place - 1)
        assert file.read(BLOCK_BYTES + 2) == b"\0" + b"\7" * BLOCK_BYTES + b"\0"
    assert target.stat().st_blocks * 512 < 3 * BLOCK_BYTES
    part = reader.read("disk", place - 2, 4)
    assert b"".join(part) == b"\0\0\7\7"


def test_zeros_are_written_over_what_was_there(scene: Scene, tmp_path: Path) -> None:
    """A disk that is not empty is overwritten, zeros too."""
    data = content_of([2, 0, 2], 5)
    with scene.repository.write() as session:
        reader = scene.commit(session, "one", disk=session.add_stream([data]))
    target = tmp_path / "disk"
    target.write_bytes(b"\xff" * len(data))
    with target.open("r+b") as file:
        reader.restore_disk("disk", file.fileno())
    assert target.read_bytes() == data


def test_equal_content_is_stored_once(scene: Scene) -> None:
    """Of whatever deployment, in whatever session."""
    scene.save("one", PATTERNS[0])
    with scene.repository.write() as session:
        session.add_stream([PATTERNS[0]])
        assert session.figures.new_bytes < 100
        assert session.figures.known_bytes >= BLOCK_BYTES


def test_a_point_is_found_by_its_name_alone(scene: Scene) -> None:
    """And a second one of the same name is refused, unless it is the same."""
    key = scene.save("one", b"content")
    assert scene.repository.point(key).items["0"].size_bytes == 7
    assert [point.key for point in scene.repository.points()] == [key]
    with scene.repository.write() as session:
        session.commit(scene.repository.point(key))
        with pytest.raises(ForeignObjectError):
            session.commit(replace(scene.repository.point(key), made_at=7.0))
    assert scene.read(key) == [b"content"]


def test_a_point_that_was_committed_before_is_the_same_when_it_is_stored_again(scene: Scene) -> None:
    """Whoever was cut off between that and noting it begins anew, at another time."""
    key = scene.save("one", b"content")
    assert scene.save("one", b"content") == key
    with pytest.raises(ForeignObjectError):
        scene.save("one", b"other")


def test_a_point_takes_the_place_of_a_damaged_one(scene: Scene) -> None:
    """Which nobody can read any more, so nothing is lost by it."""
    key = scene.save("one", b"content")
    (name,) = (stored.name for stored in scene.storage.list("points"))
    scene.storage._objects[name] = b"x", scene.clock.now
    scene.save("one", b"other")
    assert scene.read(key) == [b"other"]


def test_a_point_of_what_is_nowhere_is_refused(scene: Scene) -> None:
    """Stored by a session that was not committed, say."""
    with scene.repository.write() as session:
        item = session.add_stream([b"content"])
    with scene.repository.write() as session, pytest.raises(DamagedArtifactError):
        scene.commit(session, "one", dump=item)
    assert not list(scene.repository.points())


def test_points_of_many_lists_and_kinds_are_told_apart(scene: Scene) -> None:
    """What is asked for by the wrong kind or name is not there."""
    key = scene.save("one", b"content")
    reader = scene.repository.reader(key)
    with pytest.raises(Exception, match="no tree '0'"):
        list(reader.entries("0"))
    with pytest.raises(Exception, match="no disk or stream 'x'"):
        list(reader.read("x"))
    assert isinstance(reader.point.items["0"], PointItem)
    assert isinstance(key, PointKey)
