"""Lets nobody change a storage: for checks, restores, and repositories that are looked at."""

from __future__ import annotations

from collections.abc import Iterator

from quiesce.errors import StorageDeniedError
from quiesce.model.stored_object import ObjectName, StoredObject
from quiesce.ports.storage import Data, Storage


class ReadOnlyStorage:
    """Answers the port `Storage` by another one; what would change it is refused before it is asked."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def location(self) -> str:
        """That of the other one."""
        return self._storage.location

    def prepare(self) -> None:
        """Do nothing: what has to be there is there, or cannot be read."""

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:  # noqa: ARG002
        """Refuse."""
        raise self._refused(f"put {name}")

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Get from the other one."""
        return self._storage.get(name, offset=offset, length=length)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """List the other one."""
        return self._storage.list(folder)

    def stat(self, name: ObjectName) -> StoredObject:
        """Describe an object of the other one."""
        return self._storage.stat(name)

    def delete(self, name: ObjectName) -> None:
        """Refuse."""
        raise self._refused(f"delete {name}")

    def remove_unfinished(self) -> None:
        """Refuse."""
        raise self._refused("remove what is unfinished")

    def close(self) -> None:
        """Close the other one."""
        self._storage.close()

    def _refused(self, what: str) -> StorageDeniedError:
        return StorageDeniedError(
            f"cannot {what}: {self.location} is opened for reading only",
            hint="This command does not change repositories.",
        )
