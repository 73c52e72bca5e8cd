"""Two names change places at one instant, or nothing happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quiesce.errors import ForeignObjectError, TreeChangedError, UnsafeNameError, UnsupportedError
from quiesce.files import exchange as exchanging
from quiesce.files.exchange import Named, exchange, move


@pytest.fixture
def both(tmp_path: Path, directory: int) -> tuple[Named, Named]:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return Named.now(directory, b"old"), Named.now(directory, b"new")


def test_two_directories_change_places(kernel: bool, tmp_path: Path, both: tuple[Named, Named]) -> None:
    """Each has the other's name afterwards."""
    exchange(*both)
    assert os.listdir(tmp_path / "old") == ["new"]
    assert os.listdir(tmp_path / "new") == ["old"]
    assert not both[0].is_there()


def test_another_one_is_not_exchanged(tmp_path: Path, both: tuple[Named, Named]) -> None:
    """A directory that took an expected one's name stays where it is."""
    (tmp_path / "new").rename(tmp_path / "away")
    (tmp_path / "new").mkdir()
    with pytest.raises(TreeChangedError):
        exchange(*both)
    assert os.listdir(tmp_path / "old") == ["old"]


def test_what_is_gone_is_not_exchanged(tmp_path: Path, both: tuple[Named, Named]) -> None:
    """Nothing was renamed."""
    (tmp_path / "old").rename(tmp_path / "away")
    with pytest.raises(TreeChangedError):
        exchange(*both)
    assert os.listdir(tmp_path / "new") == ["new"]


def test_what_was_exchanged_wrongly_is_exchanged_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, both: tuple[Named, Named]
) -> None:
    """Somebody swapped a directory between the look and the exchange."""
    real = exchanging.renameat2
    (tmp_path / "evil").mkdir()

    def swaps_first(*arguments: object) -> None:
        monkeypatch.setattr(exchanging, "renameat2", real)
        (tmp_path / "new").rename(tmp_path / "away")
        (tmp_path / "evil").rename(tmp_path / "new")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(exchanging, "renameat2", swaps_first)
    with pytest.raises(TreeChangedError):
        exchange(*both)
    assert os.listdir(tmp_path / "old") == ["old"]
    assert os.listdir(tmp_path / "new") == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_where_it_cannot_be_at_one_instant_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, both: tuple[Named, Named], number: int
) -> None:
    """No other way is tried silently."""

    def cannot(*_: object) -> None:
        raise OSError(number, "cannot")

    monkeypatch.setattr(exchanging, "renameat2", cannot)
    with pytest.raises(UnsupportedError):
        exchange(*both)
    assert os.listdir(tmp_path / "old") == ["old"]


def test_a_directory_is_moved_where_nothing_is(tmp_path: Path, both: tuple[Named, Named]) -> None:
    """Into another directory too."""
    moved = move(both[0], both[1].directory, b"third")
    assert moved.is_there()
    assert os.listdir(tmp_path / "third") == ["old"]


@pytest.mark.parametrize("what", ["file", "dangling link", "empty directory"])
def test_nothing_is_ever_replaced_by_a_move(tmp_path: Path, both: tuple[Named, Named], what: str) -> None:
    """Whatever has the name keeps it."""
    if what == "file":
        (tmp_path / "third").touch()
    elif what == "dangling link":
        (tmp_path / "third").symlink_to("nowhere")
    else:
        (tmp_path / "third").mkdir()
    with pytest.raises(ForeignObjectError):
        move(both[0], both[1].directory, b"third")
    assert both[0].is_there()


@pytest.mark.parametrize("name", [b"..", b"a/b", b""])
def test_a_name_is_checked(directory: int, both: tuple[Named, Named], name: bytes) -> None:
    """Nothing is moved out."""
    with pytest.raises(UnsafeNameError):
        move(both[0], directory, name)
    with pytest.raises(UnsafeNameError):
        Named.now(directory, name)
