"""A database is the file that was declared, never one that somebody's link leads to (finding S2)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import ProviderError, UntrustedPathError
from quiesce.model.operation import Operation
from quiesce.providers import host
from quiesce.providers.host.freeze_client import FreezeClient

from .machine import Machine, Node

NOBODY = 65534


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    path = tmp_path / "roots.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE token (text)")
    connection.commit()
    connection.close()
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of other users")
@pytest.mark.parametrize("operation", [Operation.FREEZE, Operation.SNAPSHOT, Operation.APPLY])
def test_a_link_of_another_user_is_not_followed(
    machine: Machine, roots: Path, tmp_path: Path, operation: Operation
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "app.db").symlink_to(roots)
    os.chown(theirs, NOBODY, NOBODY)
    os.chown(theirs / "app.db", NOBODY, NOBODY, follow_symlinks=False)
    before = roots.read_bytes()

    with pytest.raises(UntrustedPathError):
        machine.do(Node(host.SQLITE_ALONE, path=str(theirs / "app.db")), operation)

    assert roots.read_bytes() == before


def test_a_second_name_of_a_database_is_refused(machine: Machine, roots: Path, tmp_path: Path) -> None:
    (tmp_path / "app.db").hardlink_to(roots)
    with pytest.raises(UntrustedPathError, match="another name"):
        machine.do(Node(host.SQLITE_ALONE, path=str(tmp_path / "app.db")), Operation.SNAPSHOT)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root works for another user here")


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory that other users can enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="q"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def theirs(ground: Path) -> Path:
    """A directory of another user, with a database of theirs that keeps a log."""
    directory = ground / "theirs"
    directory.mkdir()
    with closing(sqlite3.connect(directory / "app.db")) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE token (text)")
        connection.execute("INSERT INTO token VALUES ('theirs')")
        connection.commit()
    for path in (directory, *directory.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    return directory


def _node(theirs: Path) -> Node:
    return Node(host.SQLITE_ALONE, path=str(theirs / "app.db"), snapshot_dir=str(theirs.parent / "kept"))


def _plant(theirs: Path, name: str, target: Path) -> None:
    (theirs / name).symlink_to(target)
    os.chown(theirs / name, NOBODY, NOBODY, follow_symlinks=False)


@needs_root
def test_a_users_database_is_cut_and_restored_with_the_users_rights(machine: Machine, theirs: Path) -> None:
    node = _node(theirs)
    for operation in (Operation.FREEZE, Operation.SNAPSHOT, Operation.THAW, Operation.COPY):
        machine.do(node, operation)
    with closing(sqlite3.connect(theirs / "app.db")) as connection:
        connection.execute("UPDATE token SET text = 'changed'")
        connection.commit()
    machine.do(node, Operation.APPLY)
    with closing(sqlite3.connect(theirs / "app.db")) as connection:
        assert connection.execute("SELECT text FROM token").fetchall() == [("theirs",)]
    assert {path.stat().st_uid for path in theirs.iterdir()} == {NOBODY}


@pytest.fixture
def private(ground: Path) -> Iterator[Path]:
    """A directory that only root may enter, with a database of root's of the same name."""
    directory = ground / "private"
    directory.mkdir(mode=0o700)
    with closing(sqlite3.connect(directory / "app.db")) as connection:
        connection.execute("CREATE TABLE token (text)")
        connection.execute("INSERT INTO token VALUES ('only root may read this')")
        connection.commit()
    before = (directory / "app.db").read_bytes()
    yield directory
    assert (directory / "app.db").read_bytes() == before


def _swap_when_opened(monkeypatch: pytest.MonkeyPatch, theirs: Path, private: Path) -> None:
    """Let the owner of the directory be quick: it is a link when the database is about to be opened."""

    def swap(method: Callable[..., Any]) -> Callable[..., Any]:
        def swapped(client: FreezeClient, *arguments: Any, **more: Any) -> Any:
            if str(theirs / "app.db") in str(arguments) and not theirs.is_symlink():
                theirs.rename(theirs.with_name("aside"))
                theirs.symlink_to(private)
                os.chown(theirs, NOBODY, NOBODY, follow_symlinks=False)
            return method(client, *arguments, **more)

        return swapped

    for name in ("run", "hold"):
        monkeypatch.setattr(FreezeClient, name, swap(getattr(FreezeClient, name)))


@needs_root
def test_what_takes_the_databases_place_before_it_is_opened_is_not_read(
    machine: Machine, theirs: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _swap_when_opened(monkeypatch, theirs, private)
    with pytest.raises(ProviderError):
        machine.do(_node(theirs), Operation.SNAPSHOT)
    kept = [path for path in (theirs.parent / "kept").rglob("*") if path.is_file()]
    assert [path for path in kept if b"only root may read this" in path.read_bytes()] == []


@needs_root
def test_what_takes_the_databases_place_before_it_is_opened_is_not_frozen(
    machine: Machine, theirs: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _swap_when_opened(monkeypatch, theirs, private)
    with pytest.raises(ProviderError):
        machine.do(_node(theirs), Operation.FREEZE)
    assert sorted(path.name for path in private.iterdir()) == ["app.db"]


@needs_root
@pytest.mark.parametrize("frozen", [True, False])
def test_what_takes_the_databases_place_before_it_is_opened_is_not_overwritten(
    machine: Machine, theirs: Path, private: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    node = _node(theirs)
    for operation in (Operation.SNAPSHOT, Operation.COPY, *((Operation.FREEZE,) if frozen else ())):
        machine.do(node, operation)
    with monkeypatch.context() as while_applied:
        _swap_when_opened(while_applied, theirs, private)
        with pytest.raises(ProviderError):
            machine.do(node, Operation.APPLY)
    assert theirs.is_symlink()
    with suppress(ProviderError):
        machine.do(node, Operation.THAW)


@needs_root
@pytest.mark.parametrize("name", ["app.db-wal", "app.db-journal", "app.db-shm"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_restore_writes_through_no_link_beside_the_database(
    machine: Machine, theirs: Path, ground: Path, name: str, frozen: bool
) -> None:
    if name == "app.db-journal":
        with closing(sqlite3.connect(theirs / "app.db")) as connection:
            connection.execute("PRAGMA journal_mode=delete")
    node = _node(theirs)
    for operation in (Operation.SNAPSHOT, Operation.COPY):
        machine.do(node, operation)
    private = ground / "private"
    private.mkdir(mode=0o700)
    (private / "precious").write_bytes(b"\0precious" * 1000)
    for path in theirs.glob(name):
        path.unlink()
    _plant(theirs, name, private / "precious")
    with suppress(ProviderError):
        if frozen:
            machine.do(node, Operation.FREEZE)
        machine.do(node, Operation.APPLY)
    with suppress(ProviderError):
        machine.do(node, Operation.THAW)
    assert (private / "precious").read_bytes() == b"\0precious" * 1000


@needs_root
def test_a_database_of_roots_where_others_can_put_files_is_refused(machine: Machine, theirs: Path) -> None:
    os.chown(theirs / "app.db", 0, 0)
    with pytest.raises(UntrustedPathError, match="is root's"):
        machine.do(_node(theirs), Operation.SNAPSHOT)
