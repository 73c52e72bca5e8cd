"""The storage's contract on OpenSSH's SFTP server."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quiesce.errors import ObjectExistsError, StorageError, StorageFullError
from quiesce.model.stored_object import object_name
from quiesce.testing import Place, StorageContract

pytest.importorskip("paramiko")

from ..labs.storage.servers import SftpPlace  # noqa: TID252
from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252

pytestmark = needs_sshd

NAME = object_name("packs/ab/abcd")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd"), "Subsystem sftp internal-sftp") as server:
        yield server


class TestSftp(StorageContract):
    @pytest.fixture
    def place(self, server: Server, tmp_path: Path) -> Place:
        return SftpPlace(server, tmp_path / "repository")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2M", "none", str(where)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=False)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_full_disk_behind_sftp_is_said_so_and_nothing_is_left(
    server: Server, small_disk: Path, exclusive: bool
) -> None:
    """The server says "Failure" and nothing else."""
    place = SftpPlace(server, small_disk)
    with closing(place.storage()) as storage:
        storage.put(NAME, b"kept")
        with pytest.raises(StorageFullError, match="no room"):
            storage.put(object_name("packs/big"), bytes(4 << 20), exclusive=exclusive)
        assert place.contents() == {NAME: b"kept"}
        storage.put(object_name("packs/small"), b"still works")


def test_a_read_only_disk_behind_sftp_can_still_be_read(server: Server, small_disk: Path) -> None:
    place = SftpPlace(server, small_disk)
    with closing(place.storage()) as storage:
        storage.put(NAME, b"kept")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        for asked in (lambda: storage.put(NAME, b"new"), lambda: storage.delete(NAME)):
            with pytest.raises(StorageError):
                asked()
        assert storage.get(NAME) == b"kept"


def test_everything_behind_sftp_is_private(server: Server, tmp_path: Path) -> None:
    place = SftpPlace(server, tmp_path / "a" / "repository")
    with closing(place.storage()) as storage:
        storage.prepare()
        storage.put(NAME, b"secret")
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_server_without_extensions_is_used_as_far_as_that_is_safe(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are made and never replaced: that would take two steps, and a power cut between loses both."""
    from quiesce.storage.sftp_session import SftpSession

    monkeypatch.setattr(SftpSession, "replaces", False)
    monkeypatch.setattr(SftpSession, "links", False)
    place = SftpPlace(server, tmp_path / "repository")
    with closing(place.storage()) as storage:
        storage.prepare()
        storage.put(NAME, b"one", exclusive=True)
        storage.put(object_name("packs/other"), b"two")
        with pytest.raises(ObjectExistsError):
            storage.put(NAME, b"three", exclusive=True)
        with pytest.raises(StorageError, match="one step"):
            storage.put(NAME, b"three")
        assert place.contents() == {NAME: b"one", "packs/other": b"two"}
