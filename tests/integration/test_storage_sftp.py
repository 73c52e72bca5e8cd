"""The storage's contract on OpenSSH's SFTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.testing import Place, StorageContract

pytest.importorskip("paramiko")

from ..labs.storage.servers import SftpPlace  # noqa: TID252
from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd"), "Subsystem sftp internal-sftp") as server:
        yield server


class TestSftp(StorageContract):
    @pytest.fixture
    def place(self, server: Server, tmp_path: Path) -> Place:
        return SftpPlace(server, tmp_path / "repository")
