"""Objects in a bucket of S3, of Google Cloud Storage or of Azure; the only module that calls obstore.

Each object goes up in one request, so that it is whole or not there, and nothing unfinished is ever stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from quiesce.errors import ObjectExistsError, ObjectNotFoundError
from quiesce.model.stored_object import ObjectName, StoredObject, is_object_name, object_name
from quiesce.ports.storage import Data
from quiesce.storage.bucket_errors import meaning_of, says_range_not_satisfiable

if TYPE_CHECKING:
    from obstore import ObjectMeta

#: how many objects a page is asked for, at most
_PAGE: Final = 1000


Store: TypeAlias = S3Store | GCSStore | AzureStore


class BucketStorage:
    """Answers the port `Storage`. It repeats nothing by itself but the pages of a listing."""

    def __init__(self, *, store: Store, lister: Store, location: str) -> None:
        """Use *store* for everything; *lister* is the same one, but asks again for a page that failed."""
        self._store = store
        self._lister = lister
        self._location = location
        #: the bucket has answered something that only a bucket can
        self._found = False

    @property
    def location(self) -> str:
        """The URL."""
        return self._location

    def prepare(self) -> None:
        """Ask for a listing: it is answered only where there is a bucket."""
        with self._errors("list"), contextlib.suppress(StopIteration):
            next(iter(obstore.list(self._lister, chunk_size=1)))
        self._found = True

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Send an object in one request.

        Some stores do not check the condition in buckets that keep versions (Ceph 16), so it is asked for
        before as well: what was there before is never hidden by a new version.
        """
        if exclusive and self._is_object(object_name(name)):
            raise ObjectExistsError(f"{name} is there already ({self.location})")
        mode = "create" if exclusive else "overwrite"
        with self._errors("put", object_name(name)):
            obstore.put(self._store, name, data, mode=mode, use_multipart=False)

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Receive an object, or a range of it."""
        if length == 0:
            self.stat(name)
            return b""
        with self._errors("get", object_name(name)):
            try:
                return self._get(name, offset, length)
            except BaseError as error:
                if says_range_not_satisfiable(str(error)):
                    return b""
                raise

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Ask page by page."""
        prefix = object_name(folder) if folder else None
        with self._errors("list"):
            pages = obstore.list(self._lister, prefix, chunk_size=_PAGE)
        while page := self._next(pages):
            for found in page:
                if is_object_name(found["path"]) and (found["size"] or self._is_object(found["path"])):
                    yield _described(found)

    def stat(self, name: ObjectName) -> StoredObject:
        """Ask for an object's headers."""
        try:
            with self._errors("look at", object_name(name)):
                return _described(obstore.head(self._store, name) | {"path": name})
        except ObjectNotFoundError:
            # an answer without a body does not tell whether it is the bucket that is missing
            if not self._found:
                self.prepare()
            raise

    def delete(self, name: ObjectName) -> None:
        """Delete an object; where the bucket keeps versions, this hides it."""
        with contextlib.suppress(ObjectNotFoundError), self._errors("delete", object_name(name)):
            obstore.delete(self._store, name)

    def remove_unfinished(self) -> None:
        """Nothing is ever unfinished in a bucket: see the module's docstring."""

    def close(self) -> None:
        """Connections are closed when nothing refers to them any more."""

    def _get(self, name: str, offset: int, length: int | None) -> bytes:
        if length is not None:
            return bytes(obstore.get_range(self._store, name, start=offset, length=length))
        options = {"range": {"offset": offset}} if offset else None
        return bytes(obstore.get(self._store, name, options=options).bytes())

    def _next(self, pages: Iterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta] | None:
        with self._errors("list"):
            return next(pages, None)

    def _is_object(self, name: str) -> bool:
        """Tell an object from what only looks like one: consoles make empty markers of folders."""
        try:
            self.stat(ObjectName(name))
        except ObjectNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def _errors(self, verb: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            # the cause may hold a URL that is signed, so it goes no further
            raise self._meaning(error, verb, name) from None

    def _meaning(self, error: Exception, verb: str, name: str) -> Exception:
        return meaning_of(error, f"cannot {verb} {name}".rstrip() + f" ({self.location})")


def _described(found: ObjectMeta) -> StoredObject:
    return StoredObject(
        name=ObjectName(found["path"]),
        size_bytes=found["size"],
        modified=found["last_modified"].timestamp(),
    )
