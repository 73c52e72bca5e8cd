"""What nobody needs goes, what anybody needs stays, whoever writes meanwhile."""

from __future__ import annotations

import os
import struct

import pytest

from quiesce.errors import DamagedArtifactError, ObjectLockedError, RecoverableError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.repository import Point, PointKey, Repository
from quiesce.repository.index import PackId
from quiesce.repository.packs import pack_name, read_end
from quiesce.storage import MemoryStorage

from .conftest import GRACE_S, Scene


def later(scene: Scene) -> None:
    scene.clock.now += GRACE_S + 1


def point(name: str, **items: object) -> Point:
    return Point(key=PointKey(deployment="shop", point=name), made_at=1.0, items=items)  # type: ignore[arg-type]


def test_points_may_be_removed_in_any_order(scene: Scene) -> None:
    """None builds on another."""
    contents = [os.urandom(1000) for _ in range(4)]
    keys = [scene.save(str(n), contents[n], contents[n + 1], b"shared") for n in range(3)]
    for key in (keys[1], keys[0]):
        scene.repository.remove(key)
        scene.collect_all()
    assert scene.read(keys[2]) == [contents[2], contents[3], b"shared"]
    assert scene.repository.check().problems == []
    scene.repository.remove(keys[2])
    scene.collect_all()
    assert scene.packs() == 0
    assert {stored.name.partition("/")[0] for stored in scene.storage.list()} <= {"config", "keys", "index"}


def test_nothing_is_deleted_before_its_grace_is_over(scene: Scene) -> None:
    """Condemned first, deleted when the grace is over; asked what it would do, it does nothing."""
    scene.repository.remove(scene.save("one", b"content"))
    assert scene.repository.collect().condemned_packs == 0
    later(scene)
    assert scene.repository.collect(simulate=True).condemned_packs == 1
    assert not list(scene.storage.list("condemned"))
    assert scene.repository.collect().condemned_packs == 1
    assert scene.repository.collect().deleted_packs == 0
    assert scene.packs() == 1
    later(scene)
    assert scene.repository.collect().deleted_packs == 1
    assert scene.packs() == 0


def test_who_begins_after_a_pack_is_condemned_does_not_rely_on_it(scene: Scene) -> None:
    """The same content is stored anew, and stays."""
    scene.repository.remove(scene.save("one", b"content"))
    later(scene)
    scene.repository.collect()
    key = scene.save("two", b"content")
    assert scene.packs() == 2
    scene.collect_all()
    assert scene.read(key) == [b"content"]


def test_who_had_begun_before_stores_anew_what_was_condemned(scene: Scene) -> None:
    """Seen before the point is written."""
    scene.repository.remove(scene.save("one", b"content"))
    later(scene)
    with scene.repository.write(threads=1) as session:
        item = session.add_stream([b"content"])
        scene.repository.collect()
        session.commit(point("two", dump=item))
    scene.collect_all()
    assert b"".join(scene.repository.reader(point("two").key).read("dump")) == b"content"


def test_who_took_longer_than_the_grace_writes_no_point_of_what_is_gone(scene: Scene) -> None:
    """The point is refused rather than written in vain."""
    scene.repository.remove(scene.save("one", b"content"))
    later(scene)
    with scene.repository.write(threads=1) as session:
        item = session.add_stream([b"content"])
        scene.repository.collect()
        later(scene)
        scene.repository.collect()
        assert scene.packs() == 0
        with pytest.raises(RecoverableError, match="was deleted while it was made"):
            session.commit(point("two", dump=item))
    assert not list(scene.repository.points())


def test_what_is_needed_of_a_wasteful_pack_is_stored_anew(scene: Scene) -> None:
    """And the rest goes."""
    keep, waste = os.urandom(1000), os.urandom(100_000)
    with scene.repository.write(threads=1) as session:
        small, large = session.add_stream([keep]), session.add_stream([waste])
        session.commit(point("small", dump=small))
        session.commit(point("large", dump=large))
    scene.repository.remove(point("large").key)
    scene.collect_all()
    assert b"".join(scene.repository.reader(point("small").key).read("dump")) == keep
    assert sum(stored.size_bytes for stored in scene.storage.list("packs")) < 3000
    assert scene.repository.check().problems == []


def test_nothing_is_deleted_while_a_point_cannot_be_read(scene: Scene) -> None:
    """Nobody knows then what it needs."""
    scene.repository.remove(scene.save("one", b"content"))
    scene.save("two", b"other")
    (name,) = [stored.name for stored in scene.storage.list("points")]
    scene.storage.put(name, scene.storage.get(name)[:-1])
    later(scene)
    with pytest.raises(DamagedArtifactError):
        scene.repository.collect()
    assert not list(scene.storage.list("condemned"))


class WormStorage(MemoryStorage):
    """Lets no pack be deleted."""

    def delete(self, name: ObjectName) -> None:
        """Refuse it."""
        if name.startswith("packs/"):
            raise ObjectLockedError(name)
        super().delete(name)


def test_what_is_locked_stays_and_is_tried_again(scene: Scene) -> None:
    """A bucket with object lock is no error."""
    scene.repository.remove(scene.save("one", b"content"))
    later(scene)
    scene.repository.collect()
    later(scene)
    worm = WormStorage(now=scene.clock)
    worm._objects = scene.storage._objects
    locked = Repository.open(worm, [scene.key], clock=scene.clock, monotonic=scene.clock)
    assert locked.collect().locked_packs == 1
    assert scene.repository.check().problems == []
    assert scene.repository.collect().deleted_packs == 1


def test_many_indexes_become_one(scene: Scene) -> None:
    """So that opening a repository stays quick."""
    keys = [scene.save(str(n), b"%d" % n) for n in range(20)]
    scene.repository.collect()
    assert len(list(scene.storage.list("index"))) == 1
    assert [scene.read(key) for key in keys] == [[b"%d" % n] for n in range(20)]


def test_a_damaged_note_of_condemned_packs_keeps_nobody_from_anything(scene: Scene) -> None:
    """What it told is not known any more, so those packs are as all others; it is told, and goes."""
    key = scene.save("one", b"content")
    scene.repository.remove(scene.save("two", b"other"))
    scene.clock.now += GRACE_S + 1
    scene.repository.collect()
    (name,) = (stored.name for stored in scene.storage.list("condemned"))
    scene.storage._objects[name] = b"damaged", scene.clock.now
    assert any("condemned" in problem for problem in scene.repository.check().problems)
    assert scene.read(key) == [b"content"]
    assert scene.read(scene.save("three", b"more")) == [b"more"]
    scene.collect_all()
    assert scene.packs() == 2
    assert scene.repository.check().problems == []
    assert scene.read(key) == [b"content"]


def test_a_lost_index_is_made_anew_from_the_packs(scene: Scene) -> None:
    """Trailers say the same."""
    key = scene.save("one", b"content")
    for stored in list(scene.storage.list("index")):
        scene.storage.delete(stored.name)
    with pytest.raises(DamagedArtifactError):
        scene.read(key)
    assert scene.repository.rebuild_index().packs == 1
    assert scene.read(key) == [b"content"]


def test_points_are_copied_to_a_repository_made_alike(scene: Scene) -> None:
    """Once, with other keys, and each is whole there."""
    keys = [scene.save(str(n), b"shared", b"%d" % n) for n in range(3)]
    other_key = type(scene.key).new()
    there = MemoryStorage(now=scene.clock)
    other = Repository.create(there, other_key, addressing=scene.repository.addressing)
    assert scene.repository.copy_to(other, keys[:1]).figures.new_blobs > 0
    scene.repository.copy_to(other)
    assert scene.repository.copy_to(other).figures.new_blobs == 0
    opened = Repository.open(there, [other_key])
    assert sorted(p.key for p in opened.points()) == keys
    assert b"".join(opened.reader(keys[2]).read("1")) == b"2"
    with pytest.raises(Exception, match="differently"):
        scene.repository.copy_to(Repository.create(MemoryStorage(), other_key))


def spoil(scene: Scene, content: bytes) -> PackId:
    """Damage what is stored of *content* in the pack that an index names first; return the pack."""
    opened = scene.repository._opened
    place = opened.load_index().find(opened.addresses.of(content))
    assert place is not None
    name = pack_name(place.pack)
    data = bytearray(scene.storage.get(name))
    data[place.offset + place.length // 2] ^= 1
    scene.storage.delete(name)
    scene.storage.put(name, bytes(data))
    return place.pack


def test_a_damaged_pack_that_is_kept_stays_condemned(scene: Scene) -> None:
    """Else the next backup relied on what is known to be damaged."""
    old = scene.save("old", b"lost", b"only here")
    spoil(scene, b"lost")
    scene.repository.condemn(scene.repository.verify([old]).damaged_packs)
    later(scene)
    scene.repository.collect()

    new = scene.save("new", b"lost")

    assert scene.read(new) == [b"lost"]
    assert not scene.repository.verify([new]).damages


def test_a_check_notes_a_damaged_pack_although_another_has_it_whole(scene: Scene) -> None:
    """Collecting would keep one of both: it must not be that one."""
    with scene.repository.write() as first, scene.repository.write() as second:
        items = [session.add_stream([b"twice"]) for session in (first, second)]
        first.commit(point("one", a=items[0]))
        second.commit(point("two", a=items[1]))
    keys = [PointKey(deployment="shop", point=name) for name in ("one", "two")]
    damaged = spoil(scene, b"twice")

    found = scene.repository.verify(keys)
    scene.repository.condemn(found.damaged_packs)
    scene.collect_all()
    later(scene)
    scene.collect_all()

    assert (found.damages, damaged in found.damaged_packs) == ({}, True)
    assert not scene.repository.verify(keys).damages


def test_what_an_earlier_session_stored_is_stored_anew_from_a_condemned_pack(scene: Scene) -> None:
    """A backup that goes on would leave it out, though everything is there."""
    old = scene.save("old", b"shared")
    with scene.repository.write() as session:
        item = session.add_stream([b"shared"])
        session.flush()
    scene.repository.condemn(scene.repository._opened.stored_packs())
    scene.repository.remove(old)

    with scene.repository.write() as session:
        assert session.rely_on(item)
        session.commit(point("new", a=item))
    later(scene)
    scene.collect_all()
    later(scene)
    scene.collect_all()

    assert not scene.repository.verify([PointKey(deployment="shop", point="new")]).damages


def test_a_copy_of_what_is_not_there_is_told(scene: Scene) -> None:
    other = Repository.create(MemoryStorage(), type(scene.key).new(), addressing=scene.repository.addressing)
    gone = PointKey(deployment="shop", point="gone", instance="db_1")

    copied = scene.repository.copy_to(other, [gone])

    assert (copied.points, copied.damages) == ([], {gone: "it is not there"})


def test_of_a_pack_that_says_to_have_an_endless_end_little_is_read() -> None:
    """Whoever may write to the storage can make it as large as they wish."""
    asked: list[int] = []

    class Storage:
        def get(self, _name: ObjectName, *, offset: int, length: int) -> bytes:
            assert offset >= 0
            asked.append(length)
            return bytes(length - 12) + struct.pack("<I8s", 3 << 30, b"quiesceP")

    stored = StoredObject(name=ObjectName("packs/00/pack"), size_bytes=4 << 30, modified=0.0)
    with pytest.raises(DamagedArtifactError, match="no end"):
        read_end(PackId(bytes(20)), stored, Storage(), None)  # type: ignore[arg-type]
    assert sum(asked) < 1 << 20
