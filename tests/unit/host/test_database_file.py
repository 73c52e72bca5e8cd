"""A database is the file that was declared, never one that somebody's link leads to (finding S2)."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from quiesce.errors import UntrustedPathError
from quiesce.model.operation import Operation
from quiesce.providers import host

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
