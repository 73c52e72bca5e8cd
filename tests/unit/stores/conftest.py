"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.stores.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new, empty database."""
    opened = Database(f"sqlite:///{tmp_path}/quiesce.db")
    yield opened
    opened.close()
