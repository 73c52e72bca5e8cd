"""A removed point can come back until the grace is over, and is gone afterwards."""

from __future__ import annotations

import pytest

from quiesce.errors import DamagedArtifactError, ForeignObjectError, ResourceNotFoundError
from quiesce.model.stored_object import ObjectName
from quiesce.repository import PointKey
from quiesce.repository.packs import pack_name

from .conftest import GRACE_S, Scene


def removed_keys(scene: Scene) -> list[PointKey]:
    return sorted(each.point.key for each in scene.repository.removed())


def test_what_was_removed_comes_back_whole_within_the_grace(scene: Scene) -> None:
    """Also when others have collected since."""
    key = scene.save("one", b"content" * 1000)
    scene.clock.now += GRACE_S + 1
    assert scene.repository.remove(key)
    assert removed_keys(scene) == [key]
    scene.clock.now += GRACE_S / 2
    scene.repository.collect(most_waste=0)
    scene.clock.now += GRACE_S / 2 - 1
    scene.repository.collect(most_waste=0)
    assert scene.repository.bring_back([key]) == 1
    scene.collect_all()
    assert scene.read(key) == [b"content" * 1000]
    assert removed_keys(scene) == []


def test_what_was_removed_is_gone_after_the_grace(scene: Scene) -> None:
    """Point and content."""
    key = scene.save("one", b"content")
    scene.repository.remove(key)
    scene.clock.now += GRACE_S + 1
    assert scene.repository.collect(simulate=True).forgotten_points == 1
    assert removed_keys(scene) == [key]
    assert scene.repository.collect().forgotten_points == 1
    with pytest.raises(ResourceNotFoundError):
        scene.repository.bring_back([key])
    scene.collect_all()
    assert scene.packs() == 0
    assert not list(scene.storage.list("removed"))


def test_all_are_brought_back_or_none(scene: Scene) -> None:
    """A name that is wrong leaves the others where they are."""
    key = scene.save("one", b"content")
    scene.repository.remove(key)
    with pytest.raises(ResourceNotFoundError):
        scene.repository.bring_back([key, PointKey(deployment="shop", point="other")])
    assert removed_keys(scene) == [key]


def test_what_has_taken_its_name_stays(scene: Scene) -> None:
    """The removed one is kept aside still."""
    key = scene.save("one", b"old")
    scene.repository.remove(key)
    scene.save("one", b"new")
    with pytest.raises(ForeignObjectError):
        scene.repository.bring_back([key])
    assert scene.read(key) == [b"new"]
    assert removed_keys(scene) == [key]


def test_removing_what_is_not_there_is_fine(scene: Scene) -> None:
    """It is told."""
    assert not scene.repository.remove(PointKey(deployment="shop", point="none"))


def test_a_damaged_point_can_be_removed(scene: Scene) -> None:
    """It just cannot come back."""
    key = scene.save("one", b"content")
    (name,) = (stored.name for stored in scene.storage.list("points"))
    scene.storage._objects[name] = b"x", scene.clock.now
    assert scene.repository.remove(key)
    assert not list(scene.storage.list("points"))
    assert removed_keys(scene) == []


def test_a_damaged_removed_point_is_found_and_goes(scene: Scene) -> None:
    """It does not keep anybody from collecting."""
    scene.repository.remove(scene.save("one", b"content"))
    (name,) = (stored.name for stored in scene.storage.list("removed"))
    scene.storage._objects[ObjectName(name)] = b"x", scene.clock.now
    assert scene.repository.check().problems != []
    scene.collect_all()
    assert scene.repository.check().problems == []
    assert scene.packs() == 0


def test_a_removed_point_that_cannot_come_back_any_more_is_found(scene: Scene) -> None:
    """While it is promised, it is checked like any other; afterwards nobody misses it."""
    scene.repository.remove(scene.save("one", b"content"))
    assert scene.repository.check().problems == []
    for stored in list(scene.storage.list("index")):
        scene.storage.delete(stored.name)
    assert any("shop/one/db_1" in problem for problem in scene.repository.check().problems)
    scene.clock.now += GRACE_S + 1
    assert scene.repository.check().problems == []


def test_only_what_no_other_point_needs_is_counted(scene: Scene) -> None:
    """Shared content does not go with one of the two."""
    one = scene.save("one", b"shared" * 1000, b"only here" * 10)
    two = scene.save("two", b"shared" * 1000)
    alone = scene.repository.only_needed_by([one])
    assert 0 < alone < scene.repository.only_needed_by([one, two])


def test_verifying_reads_what_is_shared_once_and_names_every_damaged_point(scene: Scene) -> None:
    """A blob that two points need damages both."""
    shared = b"shared" * 1000
    keys = [scene.save("one", shared), scene.save("two", shared, b"more"), scene.save("three", b"other")]
    verified = scene.repository.verify(keys)
    assert (verified.points, verified.damages) == (3, {})
    assert verified.bytes_read < 2 * len(shared)
    opened = scene.repository._opened
    place = next(opened.load_index().places(opened.addresses.of(shared)))
    name, at = pack_name(place.pack), place.offset + 20
    data, modified = scene.storage._objects[name]
    scene.storage._objects[name] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], modified
    assert sorted(scene.repository.verify(keys).damages) == sorted(keys[:2])
    with pytest.raises(DamagedArtifactError):
        scene.read(keys[0])
