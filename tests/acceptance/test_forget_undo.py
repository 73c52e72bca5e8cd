"""``restore --forget-undo`` says what stays and why, and running it again removes that."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus

from .conftest import Opener
from .shop import SHOP, CommandLine, Shop
from .test_rebuilding import FULL


def _restored(quiesce: CommandLine, shop: Shop) -> None:
    quiesce("backup", "shop", "-p", "snapshot_name=one", *FULL)
    (shop.data / "hours.txt").write_text("closed")
    quiesce("restore", "shop", "-p", "snapshot_name=one")


@pytest.fixture
def restored_shop(quiesce: CommandLine, opened: Opener) -> Shop:
    """A shop whose last restore can be undone."""
    return opened(quiesce, SHOP, _restored)


def beside(shop: Shop) -> Path:
    """What is ours beside the data."""
    return shop.directory / ".quiesce-data"


def left(shop: Shop) -> list[str]:
    """What is left there."""
    return sorted(path.name for path in beside(shop).glob("*"))


@contextlib.contextmanager
def mounted(shop: Shop, inside: Path) -> Iterator[Path]:
    """Mount somebody's data inside what is kept."""
    precious = shop.directory / "precious"
    precious.mkdir()
    (precious / "letters").write_text("dear")
    inside.mkdir()
    done = subprocess.run(["mount", "--bind", precious, inside], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("a bind mount needs root (CAP_SYS_ADMIN)")
    try:
        yield precious
    finally:
        subprocess.run(["umount", "-l", inside], check=True)


@contextlib.contextmanager
def program_in(directory: Path) -> Iterator[int]:
    """Let a program have its working directory there."""
    program = subprocess.Popen(["sleep", "600"], cwd=directory)
    try:
        yield program.pid
    finally:
        program.kill()
        program.wait()


def test_what_is_mounted_in_it_is_named_with_what_to_do(quiesce: CommandLine, restored_shop: Shop) -> None:
    inside = beside(restored_shop) / ".undo" / "content" / "vol"
    with mounted(restored_shop, inside) as precious:
        said = quiesce("restore", "--forget-undo", "shop", status=ExitStatus.FAILED).err
        assert f"mounted inside {beside(restored_shop)}/.undo: {inside}" in said
        assert "Unmount" in said
        assert "quiesce restore --forget-undo shop" in said
        assert (precious / "letters").read_text() == "dear"
    quiesce("restore", "--forget-undo", "shop")
    assert left(restored_shop) == []
    assert (precious / "letters").read_text() == "dear"


def test_what_a_program_uses_is_named_and_removed_by_the_next_one(
    quiesce: CommandLine, restored_shop: Shop
) -> None:
    with program_in(beside(restored_shop) / ".undo" / "content") as pid:
        said = quiesce("restore", "--forget-undo", "shop", status=ExitStatus.FAILED).err
        (kept,) = left(restored_shop)
        assert kept.startswith(".kept-")
        assert f"{beside(restored_shop)}/{kept} is kept: it is in use by" in said
        assert str(pid) in said
    quiesce("restore", "--forget-undo", "shop")
    assert left(restored_shop) == []


def test_what_was_mounted_in_what_is_half_forgotten_is_named_and_then_removed(
    quiesce: CommandLine, restored_shop: Shop
) -> None:
    with program_in(beside(restored_shop) / ".undo" / "content"):
        quiesce("restore", "--forget-undo", "shop", status=ExitStatus.FAILED)
    (kept,) = left(restored_shop)
    inside = beside(restored_shop) / kept / "content" / "vol"
    with mounted(restored_shop, inside) as precious:
        said = quiesce("restore", "--forget-undo", "shop", status=ExitStatus.FAILED).err
        assert f"{beside(restored_shop)}/{kept} could not be removed" in said
        assert f"{kept}/content/vol': something is mounted there" in said
        assert (precious / "letters").read_text() == "dear"
    quiesce("restore", "--forget-undo", "shop")
    assert left(restored_shop) == []


def test_the_next_restore_removes_what_was_half_forgotten(quiesce: CommandLine, restored_shop: Shop) -> None:
    with program_in(beside(restored_shop) / ".undo" / "content"):
        quiesce("restore", "--forget-undo", "shop", status=ExitStatus.FAILED)
    quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert left(restored_shop) == [".undo"]
