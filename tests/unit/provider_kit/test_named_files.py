"""Files that a script's snapshot has named are looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from quiesce.provider_kit.named_files import verify_named_files
from quiesce.testing import RecordingContext

from .calls import a_call

DATA = b"all the rows"
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """What a script has written."""
    path = tmp_path / "dump"
    path.write_bytes(DATA)
    return path


def checked(dump: Path, *files: Any) -> tuple[str, bool] | None:
    call = a_call(artifact={"files": list(files)}, blueprint_dir=str(dump.parent))
    found = verify_named_files(call, RecordingContext())
    return None if found is None else (found.kind, found.passed)


def test_what_names_no_file_cannot_be_checked(dump: Path) -> None:
    assert checked(dump) is None
    assert verify_named_files(a_call(artifact=None), RecordingContext()) is None


def test_a_file_is_read_where_its_checksum_is_known_and_else_looked_at(dump: Path) -> None:
    assert checked(dump, {"path": str(dump), "sha256": SUM}) == ("checksums", True)
    assert checked(dump, str(dump)) == ("presence", True)
    assert checked(dump, "dump", {"path": "dump", "sha256": SUM.upper()}) == ("presence", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "dump", "sha256": hashlib.sha256(b"others").hexdigest()},
        {"path": "dump", "size_bytes": 11},
        {"path": "gone"},
        {"size_bytes": 12},
        "../",
        7,
    ],
)
def test_one_that_is_gone_or_another_is_damage(dump: Path, wrong: Any) -> None:
    found = checked(dump, str(dump), wrong)
    assert found is not None
    assert not found[1]
