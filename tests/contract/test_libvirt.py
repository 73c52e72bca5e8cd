"""The libvirt provider keeps the contract over a hypervisor in memory (a real one: tests/integration)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.testing import ProviderContract, Subject

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from ..unit.libvirt.fake_subject import FakeSubject  # noqa: TID252


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket in it."""
    path = Path(tempfile.mkdtemp(prefix="q"))
    yield path
    shutil.rmtree(path)


class TestLibvirtWithOverlays(ProviderContract):
    @pytest.fixture
    def subject(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
        made = FakeSubject(folder, monkeypatch)
        yield made
        made.world.close()


class TestLibvirtWithInternalSnapshots(ProviderContract):
    @pytest.fixture
    def subject(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
        made = FakeSubject(folder, monkeypatch, snapshot_kind="internal", backup_mode="incremental")
        yield made
        made.world.close()
