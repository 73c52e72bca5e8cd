"""The fixtures of the tests of users' trees."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .attackers import NOBODY


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """Give a descriptor of `tmp_path`."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[int]:
    """Give a directory for a tree so deep that pytest could not remove it."""
    (tmp_path / "deep").mkdir()
    descriptor = os.open(tmp_path / "deep", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)
    subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)


@pytest.fixture(params=[True, False], ids=["openat2", "by component"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let the test run on this kernel, and on one without openat2; skipped where there is none anyway."""
    from quiesce.files import descriptors, system_calls, trust

    if request.param and not system_calls.has_openat2():
        pytest.skip("this kernel has no openat2")
    for module in (descriptors, trust):
        monkeypatch.setattr(module, "has_openat2", lambda: request.param)
    return bool(request.param)


@pytest.fixture
def root_only() -> None:
    """Skip the test for anybody but root."""
    if os.geteuid() != 0:
        pytest.skip("only root can do this")


@pytest.fixture
def chattr(root_only: None, tmp_path: Path) -> Iterator[Callable[[str, Path], None]]:
    """Give a way to change inode flags below `tmp_path`; all are cleared when the test is over."""

    def change(flags: str, path: Path) -> None:
        if subprocess.run(["chattr", flags, str(path)], check=False, capture_output=True).returncode:
            pytest.skip("this file system has no such flags")

    yield change
    _unlock(tmp_path)


@pytest.fixture
def playground(root_only: None) -> Iterator[Path]:
    """Give a directory of root's with ``user/``, a directory that belongs to a local user."""
    root = Path(tempfile.mkdtemp(prefix="quiesce-files-"))
    root.chmod(0o711)
    (root / "user").mkdir()
    os.chown(root / "user", NOBODY, NOBODY)
    yield root
    _unlock(root)
    shutil.rmtree(root)


def _unlock(root: Path) -> None:
    subprocess.run(["chattr", "-R", "-f", "-i", "-a", str(root)], check=False, capture_output=True)
