"""Undoing a restore of a directory: the first state that was replaced, whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    InUseError,
    MountInsideError,
    ResourceNotFoundError,
    TreeChangedError,
)
from quiesce.model.former_state import FormerState, Side
from quiesce.model.operation import Operation
from quiesce.model.parameters import Parameters
from quiesce.providers.host import former_states
from quiesce.testing import RecordingContext

from .machine import Machine, Node
from .test_directory import cut_the_power
from .test_ways_back import mount, program_in

__all__ = ["mount"]


def put(machine: Machine, node: Node, to: Side = Side.FORMER, **changes: object) -> None:
    """Undo the restore, or undo that."""
    machine.do(node, Operation.REVERT, parameters=Parameters(undo_to=to), **changes)


def kept(machine: Machine, node: Node) -> FormerState:
    """Return what is kept."""
    found = machine.provider.former_state(machine.call(node, Operation.REVERT), RecordingContext())
    assert found is not None
    return found


def restored(machine: Machine, node: Node, data: Path, *, execution: str = "restore1") -> None:
    """Save "saved", go on with "former", and restore."""
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    (data / "file").write_text("former")
    machine.do(node, Operation.APPLY, execution=execution)


def test_an_undo_and_its_undo_as_often_as_wanted(machine: Machine, node: Node, data: Path) -> None:
    restored(machine, node, data)
    machine.do(node, Operation.CONFIRM, execution="restore1")
    state = kept(machine, node)
    assert (state.execution, state.point, state.kept, state.size_bytes) == ("restore1", "one", Side.FORMER, 6)
    (data / "file").write_text("written since")

    for _ in range(2):
        put(machine, node)
        assert (data / "file").read_text() == "former"
        assert kept(machine, node).kept is Side.RESTORED
        put(machine, node)
        assert (data / "file").read_text() == "former", "asked for twice it is the same state"
        put(machine, node, Side.RESTORED)
        assert (data / "file").read_text() == "written since"


def test_without_a_restore_there_is_nothing_to_undo(machine: Machine, node: Node, data: Path) -> None:
    with pytest.raises(ResourceNotFoundError, match="restore"):
        put(machine, node)
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    with pytest.raises(ResourceNotFoundError, match="restore"):
        put(machine, node)


def test_what_was_missing_before_is_missing_again(machine: Machine, node: Node, data: Path) -> None:
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    shutil.rmtree(data)
    machine.do(node, Operation.APPLY, execution="restore1")

    put(machine, node)
    assert not data.exists()
    put(machine, node, Side.RESTORED)
    assert (data / "file").read_text() == "saved"


def test_data_that_somebody_has_removed_come_back(machine: Machine, node: Node, data: Path) -> None:
    restored(machine, node, data)
    shutil.rmtree(data)
    put(machine, node)
    assert (data / "file").read_text() == "former"


@pytest.mark.parametrize("by", ["link", "directory"])
def test_what_has_taken_the_place_of_what_was_kept_is_not_put_back(
    machine: Machine, node: Node, data: Path, tmp_path: Path, by: str
) -> None:
    restored(machine, node, data)
    place = Path(kept(machine, node).place)
    place.rename(tmp_path / "elsewhere")
    if by == "link":
        place.symlink_to(tmp_path / "elsewhere")
    else:
        shutil.copytree(tmp_path / "elsewhere", place)
    with pytest.raises(DamagedArtifactError, match="was replaced by something else"):
        put(machine, node)
    assert (data / "file").read_text() == "saved"
    assert not data.is_symlink()


@pytest.mark.parametrize("undone", [False, True], ids=["restored", "undone"])
def test_what_was_kept_and_is_gone_takes_no_place(
    machine: Machine, node: Node, data: Path, undone: bool
) -> None:
    """Somebody has removed it by hand; the data stay where they are, whatever is asked for."""
    restored(machine, node, data)
    if undone:
        put(machine, node)
    shutil.rmtree(kept(machine, node).place)
    before = (data / "file").read_text()
    for _ in range(2):
        with pytest.raises(DamagedArtifactError, match="is gone"):
            put(machine, node, Side.RESTORED if undone else Side.FORMER)
        assert (data / "file").read_text() == before


@pytest.mark.parametrize("written", [False, True], ids=["untouched", "written to"])
def test_the_first_state_survives_restores_that_fail(
    machine: Machine, node: Node, data: Path, written: bool
) -> None:
    """They put one state after the other there; what somebody has written to is not lost either."""
    restored(machine, node, data)
    for number in range(2, 6):
        if written:
            (data / "file").write_text(f"written after restore{number - 1}")
        machine.do(node, Operation.APPLY, execution=f"restore{number}")
    machine.do(node, Operation.CONFIRM, execution="restore5")

    older = [Path(path, "content", "file").read_text() for path in kept(machine, node).older]
    assert older == ([f"written after restore{number}" for number in range(1, 5)] if written else [])
    put(machine, node)
    assert (data / "file").read_text() == "former"

    machine.do(node, Operation.APPLY, execution="restore6")
    put(machine, node)
    assert (data / "file").read_text() == "former", "a restore after an undo has a former state of its own"
    machine.do(node, Operation.CONFIRM, execution="restore6")
    assert kept(machine, node).older == ()


def test_a_former_state_is_kept_until_the_next_restore_has_succeeded(
    machine: Machine, node: Node, data: Path
) -> None:
    restored(machine, node, data)
    machine.do(node, Operation.CONFIRM, execution="restore1")
    (data / "file").write_text("written since")
    machine.do(node, Operation.APPLY, execution="restore2")
    (older,) = kept(machine, node).older
    assert Path(older, "content", "file").read_text() == "former"

    machine.do(node, Operation.CONFIRM, execution="restore2")
    assert kept(machine, node).older == ()
    assert not Path(older).exists()


@pytest.mark.parametrize("touch", range(12))
@pytest.mark.parametrize("to", list(Side))
def test_an_undo_that_dies_at_any_point_is_finished_by_its_repetition(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, touch: int, to: Side
) -> None:
    restored(machine, node, data)
    if to is Side.RESTORED:
        put(machine, node)
    with monkeypatch.context() as patch:
        cut_the_power(patch, touch)
        with contextlib.suppress(KeyboardInterrupt):
            put(machine, node, to)
    on_the_way = (data / "file").read_text() + " " + (Path(kept(machine, node).place) / "file").read_text()
    assert on_the_way in ("saved former", "former saved"), "neither state is lost, or there twice"

    put(machine, node, to)

    assert (data / "file").read_text() == ("former" if to is Side.FORMER else "saved")
    assert kept(machine, node).kept is (Side.RESTORED if to is Side.FORMER else Side.FORMER)


@pytest.mark.parametrize("touch", range(24))
def test_restores_that_die_at_any_point_keep_the_first_state(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, touch: int
) -> None:
    """Three in a row, each killed at its own moment; then an undo, whatever they have left."""
    (data / "file").write_text("saved")
    machine.save(node, full=False)
    (data / "file").write_text("former")
    for number in range(3):
        with monkeypatch.context() as patch:
            cut_the_power(patch, touch + number)
            with contextlib.suppress(KeyboardInterrupt):
                machine.do(node, Operation.APPLY, execution=f"restore{number}")

    if (data / "file").read_text() == "saved":
        put(machine, node)

    assert (data / "file").read_text() == "former"


@pytest.mark.parametrize("touch", range(10))
def test_confirming_that_dies_at_any_point_loses_no_undo(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch, touch: int
) -> None:
    restored(machine, node, data, execution="restore0")
    machine.do(node, Operation.CONFIRM, execution="restore0")
    (data / "file").write_text("second")
    machine.do(node, Operation.APPLY, execution="restore1")
    with monkeypatch.context() as patch:
        cut_the_power(patch, touch)
        with contextlib.suppress(KeyboardInterrupt):
            machine.do(node, Operation.CONFIRM, execution="restore1")
    assert (Path(kept(machine, node).place) / "file").read_text() == "second"

    machine.do(node, Operation.CONFIRM, execution="restore1")

    assert kept(machine, node).older == ()
    assert sorted(path.name for path in (data.parent / ".quiesce-data").iterdir()) == [".undo", "one"]
    put(machine, node)
    assert (data / "file").read_text() == "second"


def test_what_programs_use_is_not_exchanged(machine: Machine, node: Node, data: Path) -> None:
    restored(machine, node, data)
    with program_in(data / "file") as program:
        with pytest.raises(InUseError, match=f"pid {program.pid}"):
            put(machine, node)
        assert (data / "file").read_text() == "saved"
        put(machine, node, inputs={"allow_in_use": True})
    assert (data / "file").read_text() == "former"


def test_a_mount_on_either_side_is_not_moved(
    machine: Machine,
    node: Node,
    data: Path,
    tmp_path: Path,
    mount: object,
) -> None:
    (data / "volume").mkdir()
    restored(machine, node, data)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    mount(precious, data / "volume")  # type: ignore[operator]
    with pytest.raises(MountInsideError, match="volume"):
        put(machine, node)
    os.system(f"umount {data}/volume")
    mount(precious, Path(kept(machine, node).place) / "volume")  # type: ignore[operator]
    with pytest.raises(MountInsideError, match="volume"):
        put(machine, node)
    assert (data / "file").read_text() == "saved"
    assert (precious / "file").read_text() == "precious"


def test_an_undo_is_kept_for_as_long_as_was_said(
    machine: Machine, node: Node, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(machine, node, data)
    machine.do(node, Operation.CONFIRM, execution="restore1", parameters=Parameters(keep_undo_s=3600.0))
    until = kept(machine, node).keep_until
    assert until is not None
    machine.save(node, full=True, point="two", execution="backup2")
    assert kept(machine, node).keep_until == until

    monkeypatch.setattr(former_states, "time", _At(until + 1))
    machine.save(node, full=True, point="three", execution="backup3")

    assert machine.provider.former_state(machine.call(node, Operation.REVERT), RecordingContext()) is None


class _At:
    """A clock that stands still."""

    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now

    def time_ns(self) -> int:
        return int(self._now * 1e9)


def test_extracting_touches_nothing_else(machine: Machine, node: Node, data: Path, tmp_path: Path) -> None:
    (data / "file").write_text("saved")
    machine.save(node, full=True)
    (data / "file").write_text("present")
    before = sorted(path.name for path in data.parent.iterdir())
    target = tmp_path / "elsewhere"
    parameters = Parameters(target=str(target))
    for _ in range(2):
        machine.do(node, Operation.EXTRACT, full=True, execution="extract1", parameters=parameters)
    assert [path.name for path in target.iterdir()] == [node.instance]
    assert (target / node.instance / "file").read_text() == "saved"
    assert (data / "file").read_text() == "present"
    assert sorted(path.name for path in data.parent.iterdir()) == before

    with pytest.raises(ForeignObjectError, match="already"):
        machine.do(node, Operation.EXTRACT, full=True, execution="extract2", parameters=parameters)
    assert [path.name for path in target.iterdir()] == [node.instance]


def test_what_takes_the_place_of_what_is_being_extracted_is_not_removed(
    machine: Machine, node: Node, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the target had root remove another directory of root's, which lay beside it."""
    (data / "file").write_text("saved")
    machine.save(node, full=True)
    target = tmp_path / "out"
    (target / "precious").mkdir(parents=True)
    (target / "precious" / "file").write_text("kept")
    monkeypatch.setattr("quiesce.providers.host.extracting.move", swapped := Swapping(target))
    parameters = Parameters(target=str(target))
    with pytest.raises(TreeChangedError):
        machine.do(node, Operation.EXTRACT, full=True, execution="extract1", parameters=parameters)
    assert (swapped.building / "file").read_text() == "kept"


class Swapping:
    """Renames, in the place of a move, what is built, and something else to its name."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.building = target

    def __call__(self, *_: object) -> None:
        (self.building,) = self.target.glob(".quiesce-extract-*")
        self.building.rename(self.target / "moved")
        (self.target / "precious").rename(self.building)


def test_a_half_made_extract_is_not_taken_for_whole(
    machine: Machine, node: Node, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "file").write_text("saved")
    machine.save(node, full=True)
    target = tmp_path / "elsewhere"
    parameters = Parameters(target=str(target))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("quiesce.providers.host.extracting.move", killed)
        patch.setattr("quiesce.providers.host.extracting.remove", killed)
        with pytest.raises(KeyboardInterrupt):
            machine.do(node, Operation.EXTRACT, full=True, parameters=parameters)
    assert not (target / node.instance).exists()

    machine.do(node, Operation.EXTRACT, full=True, execution="extract2", parameters=parameters)
    assert [path.name for path in target.iterdir()] == [node.instance]
