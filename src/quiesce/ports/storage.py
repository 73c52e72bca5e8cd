"""What a repository asks of the place that keeps it: whole objects, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from quiesce.model.stored_object import ObjectName, StoredObject

#: what can be put without being copied first
Data: TypeAlias = bytes | bytearray | memoryview


class Storage(Protocol):
    """Keeps objects: a directory, a bucket, a directory behind SFTP.

    Contract, tested by `quiesce.testing.StorageContract`:

    - An object is whole or it is not there. A put that was interrupted (killed, power cut, lost connection)
      leaves the object that was there before, or none, or the new one; never a part.
    - What is put is durable, and seen by every other reader and by `list`, when `put` returns.
    - Names are those of `quiesce.model.stored_object`. Whatever else is there is neither listed nor touched.
    - Every call may be repeated, and may be made from many threads and many machines at once.
    - A call that raised `StorageUnavailableError` may have had its effect, and may yet have it.

    Every method raises, beside what it names:

    - `UnreachableError`: the directory or bucket itself is not there: nothing can be said of what it holds;
    - `StorageUnavailableError`: no answer, or the storage is busy; asking again may help (``retryable``);
    - `StorageDeniedError`: the credentials are wrong, or do not allow this;
    - `StorageFullError`: no room, or over a quota;
    - `StorageError`: anything else that the storage answers.
    """

    @property
    def location(self) -> str:
        """The URL, for people: without a secret."""
        ...

    def prepare(self) -> None:
        """Make what has to be there before the first `put` (the directory), durably; fine when it is.

        A bucket is not made: it has to be there already.
        """
        ...

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Keep *data* under *name*, in place of what was there.

        With *exclusive*, only where nothing is: of many that put the same name at once, one succeeds.

        Raises:
            ObjectExistsError: *exclusive*, and something is there; it was not touched.
            ObjectLockedError: what is there may not be replaced yet (WORM).
        """
        ...

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return *length* bytes from *offset* on; None: all the rest.

        Where the object ends before, what is there is returned, at worst nothing: as read(2) does.

        Raises:
            ObjectNotFoundError: there is no such object.
        """
        ...

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name begins with *folder* and a slash, in no promised order; "": all.

        Whatever was put before the call is there, whatever was deleted before is not. What is put or deleted
        meanwhile may be there or not. A folder without objects is empty, not an error.
        """
        ...

    def stat(self, name: ObjectName) -> StoredObject:
        """Return what the storage says of one object.

        Raises:
            ObjectNotFoundError: there is no such object.
        """
        ...

    def delete(self, name: ObjectName) -> None:
        """Remove an object; fine when it is not there. After a power cut of the storage it may be back.

        Where the storage keeps versions, readers find nothing, and the bytes stay until its own rules remove
        them.

        Raises:
            ObjectLockedError: it may not be removed yet (WORM).
        """
        ...

    def remove_unfinished(self) -> None:
        """Remove what interrupted puts left, which no other method shows; what is being put now stays."""
        ...

    def close(self) -> None:
        """Release connections. The storage is not used afterwards."""
        ...
