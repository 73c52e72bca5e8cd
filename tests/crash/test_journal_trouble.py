"""The journal cannot be written, or somebody else has taken it: what is frozen is thawed all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import pytest

from quiesce.errors import StoreError, SupersededError
from quiesce.model.records import Record
from quiesce.planning import WORKFLOWS
from quiesce.ports import Journal
from tests.crash.invariants import check
from tests.crash.scenes import Scene

WORLDS = ("healthy", "snapshot fails", "freeze unconfirmed", "snapshot hangs")


class FullDisk:
    """A journal whose writes fail from number *good* on; *lasting* of them, or all."""

    def __init__(self, journal: Journal, good: int, lasting: int | None) -> None:
        self._journal = journal
        self._good = good
        self._lasting = lasting
        self.writes = 0

    def append(self, records: Sequence[Record]) -> None:
        self.writes += 1
        bad = self.writes - self._good
        if bad > 0 and (self._lasting is None or bad <= self._lasting):
            raise StoreError("the database cannot be used: database or disk is full")
        self._journal.append(records)

    def read(self) -> Iterable[Record]:
        return self._journal.read()


@pytest.mark.parametrize("lasting", [1, 3, None], ids=["once", "three times", "for good"])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_full_disk_under_the_journal_leaves_nothing_frozen(
    workflow: str, world: str, lasting: int | None
) -> None:
    """At whichever write the disk is full, everything is thawed; later the execution ends as any other."""
    for good in range(12):
        scene = Scene(workflow, "a service on a machine", world)
        with contextlib.suppress(StoreError):
            scene.live(spoil=lambda journal, good=good: FullDisk(journal, good, lasting))  # type: ignore[misc]
        assert scene.world.frozen == set()
        scene.write_everywhere()
        scene.live()
        check(scene)


class Stolen:
    """A journal that another process takes over before write number *good*."""

    def __init__(self, journal: Journal, scene: Scene, good: int) -> None:
        self._journal = journal
        self._scene = scene
        self._left = good

    def append(self, records: Sequence[Record]) -> None:
        if self._left == 0:
            self._scene.kept.take_over()
        self._left -= 1
        self._journal.append(records)

    def read(self) -> Iterable[Record]:
        return self._journal.read()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_an_engine_that_was_superseded_only_thaws(workflow: str, world: str) -> None:
    """Whenever another process takes over, the old one thaws what it froze, writes nothing and stops."""
    for good in range(12):
        scene = Scene(workflow, "a service on a machine", world)
        with contextlib.suppress(SupersededError):
            scene.live(spoil=lambda journal, good=good, scene=scene: Stolen(journal, scene, good))  # type: ignore[misc]
        assert scene.world.frozen == set()
        scene.write_everywhere()
        scene.live()
        check(scene)
