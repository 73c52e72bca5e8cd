"""Every storage that needs no server passes one suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from quiesce.model.stored_object import ObjectName, object_name
from quiesce.storage import DirectoryStorage, MemoryStorage
from quiesce.testing import Place, StorageContract


class MemoryPlace(Place):
    def __init__(self) -> None:
        self.kept = MemoryStorage()

    def storage(self) -> MemoryStorage:
        return self.kept

    def contents(self) -> dict[str, bytes]:
        return {found.name: self.kept.get(object_name(found.name)) for found in self.kept.list()}


class DirectoryPlace(Place):
    def __init__(self, path: Path) -> None:
        self.path = path

    def storage(self) -> DirectoryStorage:
        return DirectoryStorage(self.path)

    def plant(self, path: str, data: bytes) -> None:
        planted = self.path / path
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_bytes(data)

    def contents(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in self.path.rglob("*")
            if path.is_file()
        }

    def leave_unfinished(self, name: ObjectName) -> None:
        folder, _, last = name.rpartition("/")
        self.plant(f"{folder}/.{last}.quiesce-new", b"half of")


class TestDirectory(StorageContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return DirectoryPlace(tmp_path / "repository")


class TestMemory(StorageContract):
    @pytest.fixture
    def place(self) -> Place:
        return MemoryPlace()
