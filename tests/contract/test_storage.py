"""Every storage that needs no server passes one suite."""

from __future__ import annotations

import pytest

from quiesce.model.stored_object import object_name
from quiesce.storage import MemoryStorage
from quiesce.testing import Place, StorageContract


class MemoryPlace(Place):
    def __init__(self) -> None:
        self.kept = MemoryStorage()

    def storage(self) -> MemoryStorage:
        return self.kept

    def contents(self) -> dict[str, bytes]:
        return {found.name: self.kept.get(object_name(found.name)) for found in self.kept.list()}


class TestMemory(StorageContract):
    @pytest.fixture
    def place(self) -> Place:
        return MemoryPlace()
