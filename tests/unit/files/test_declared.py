"""One file in a directory of somebody else: theirs is neither read nor written over by a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quiesce.errors import UntrustedPathError
from quiesce.files.declared import read_declared, write_declared


def test_a_file_is_written_and_read_whole(tmp_path: Path) -> None:
    write_declared(tmp_path / "file", b"longer")
    write_declared(tmp_path / "file", b"short")
    assert read_declared(tmp_path / "file", at_most=5) == b"short"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="larger"):
        read_declared(tmp_path / "file", at_most=4)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to another user")
@pytest.mark.parametrize("planted", ["link", "dangling", "name", "pipe"])
def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path, planted: str) -> None:
    theirs, precious = tmp_path / "theirs", tmp_path / "precious"
    theirs.mkdir()
    precious.write_bytes(b"precious")
    match planted:
        case "link":
            (theirs / "file").symlink_to(precious)
        case "dangling":
            (theirs / "file").symlink_to(tmp_path / "made")
        case "name":
            os.link(precious, theirs / "file")
        case _:
            os.mkfifo(theirs / "file")
    os.chown(theirs, 54321, 54321)
    if planted in {"link", "dangling"}:
        os.chown(theirs / "file", 54321, 54321, follow_symlinks=False)
    with pytest.raises((UntrustedPathError, OSError)):
        read_declared(theirs / "file", at_most=100)
    with pytest.raises((UntrustedPathError, OSError)):
        write_declared(theirs / "file", b"x")
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "made").exists()
