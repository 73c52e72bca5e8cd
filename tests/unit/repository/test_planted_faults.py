"""Whatever is flipped, cut off, deleted or exchanged in a repository is found by its check."""

from __future__ import annotations

import os
import random

import pytest

from quiesce.errors import QuiesceError
from quiesce.model.stored_object import ObjectName
from quiesce.repository import CheckRange, Point, PointKey, Repository

from .conftest import Scene, make_scene

#: 500 for the large size
FAULTS = int(os.environ.get("QUIESCE_PLANTED_FAULTS", "60"))


def filled() -> Scene:
    """Return a repository of some packs, with a point of the whole deployment."""
    scene = make_scene()
    for number in range(3):
        scene.save("nightly", os.urandom(3000), b"shared" * 900, b"%d" % number, instance=f"db_{number}")
    scene.repository.remove(scene.save("removed", b"kept aside"))
    instances = tuple(f"db_{number}" for number in range(3))
    with scene.repository.write(threads=1) as session:
        key = PointKey(deployment="shop", point="nightly")
        session.commit(Point(key=key, made_at=1.0, instances=instances))
    return scene


def found(scene: Scene) -> list[str]:
    """Return what is said of it, by whoever opens and checks it."""
    try:
        opened = Repository.open(scene.storage, [scene.key], clock=scene.clock, monotonic=scene.clock)
        return opened.check(CheckRange()).problems
    except QuiesceError as error:
        return [str(error)]


def plant(scene: Scene, chance: random.Random) -> str:
    """Damage one object, and say how."""
    objects = scene.storage._objects
    name = chance.choice(sorted(objects))
    data, modified = objects[name]
    kind = chance.choice(["flip", "cut", "grow", "exchange", "delete"])
    if kind == "flip":
        at = chance.randrange(len(data))
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        objects[name] = bytes(changed), modified
    elif kind == "cut":
        objects[name] = data[: chance.randrange(len(data))], modified
    elif kind == "grow":
        objects[name] = data + bytes([chance.randrange(256)]), modified
    elif kind == "exchange":
        other = chance.choice([n for n in sorted(objects) if n != name])
        objects[name], objects[other] = objects[other], objects[name]
    elif name != whole_deployments(scene) and not name.startswith("removed/"):
        del objects[name]
    else:
        # nothing in the repository tells that it was there
        return plant(scene, chance)
    return f"{kind} {name}"


def whole_deployments(scene: Scene) -> ObjectName:
    from quiesce.repository.points import point_name

    return point_name(scene.repository._opened.keys, PointKey(deployment="shop", point="nightly"))


def test_an_undamaged_repository_has_no_problems() -> None:
    """Or the check would be worth nothing."""
    assert found(filled()) == []


@pytest.mark.parametrize("seed", range(FAULTS))
def test_a_planted_fault_is_found(seed: int) -> None:
    """Wherever it is, whatever it is."""
    scene = filled()
    planted = plant(scene, random.Random(seed))
    assert found(scene) != [], planted


def test_a_check_in_parts_reads_everything_once() -> None:
    """By part, and from where it was stopped."""
    scene = filled()
    checks = [scene.repository.check(CheckRange(part=part, parts=2)) for part in (1, 2)]
    packs = scene.packs()
    assert [sum(c.packs_read for c in checks), checks[0].packs] == [packs, packs]
    first = scene.repository.check(CheckRange())
    assert scene.repository.check(CheckRange(after=first.last)).packs_read == 0
    assert scene.repository.check().packs_read == 0
