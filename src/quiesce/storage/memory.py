"""Objects in memory, for tests and for trying things out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from quiesce.errors import ObjectExistsError, ObjectNotFoundError
from quiesce.model.stored_object import ObjectName, StoredObject, lies_below, object_name
from quiesce.ports.storage import Data


class MemoryStorage:
    """Answers the port `Storage`; everything ends with the process."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._objects: dict[ObjectName, tuple[bytes, float]] = {}

    @property
    def location(self) -> str:
        """What messages call it."""
        return "memory:"

    def prepare(self) -> None:
        """Nothing has to be there."""

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Keep a copy of *data*."""
        kept = bytes(data), self._now()
        with self._lock:
            if exclusive and name in self._objects:
                raise ObjectExistsError(f"{name} is there already in {self.location}")
            self._objects[object_name(name)] = kept

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a part of an object."""
        data, _ = self._find(name)
        return data[offset : None if length is None else offset + length]

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Yield what is there now."""
        with self._lock:
            found = [
                _described(name, *kept) for name, kept in self._objects.items() if lies_below(name, folder)
            ]
        yield from found

    def stat(self, name: ObjectName) -> StoredObject:
        """Describe one object."""
        return _described(name, *self._find(name))

    def delete(self, name: ObjectName) -> None:
        """Remove an object."""
        with self._lock:
            self._objects.pop(object_name(name), None)

    def remove_unfinished(self) -> None:
        """Nothing is ever unfinished here."""

    def close(self) -> None:
        """Nothing is held."""

    def _find(self, name: ObjectName) -> tuple[bytes, float]:
        with self._lock:
            kept = self._objects.get(object_name(name))
        if kept is None:
            raise ObjectNotFoundError(f"{name} is not in {self.location}")
        return kept


def _described(name: ObjectName, data: bytes, modified: float) -> StoredObject:
    return StoredObject(name=name, size_bytes=len(data), modified=modified)
