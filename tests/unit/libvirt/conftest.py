"""Machines of made-up machine rooms."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that makes a subject, of a kind of its own, with the options that it is given."""
    subjects: list[Any] = []

    def make(kind: type[Any] | None = None, **options: Any) -> Any:
        from .fake_subject import FakeSubject  # needs libvirt-python, as not every test here does

        folder = Path(tempfile.mkdtemp(prefix="q"))  # its name is short enough for a socket in it
        subjects.append((kind or FakeSubject)(folder, monkeypatch, **options))
        return subjects[-1]

    yield make
    for subject in subjects:
        subject.world.close()
        shutil.rmtree(subject.folder)
