"""What the operating system's errors mean for a storage."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

from quiesce.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

#: nothing of that name, or a file where a folder would have to be
ABSENT: Final = {errno.ENOENT, errno.ENOTDIR}
#: the server of a network file system went away, or does not know our files any more
_AWAY: Final = {
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENOTCONN,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.EAGAIN,
}
_MEANINGS: Final[dict[int | None, type[StorageError]]] = {
    **dict.fromkeys(ABSENT, ObjectNotFoundError),
    errno.EEXIST: ObjectExistsError,
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), StorageFullError),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), StorageDeniedError),
    **dict.fromkeys(_AWAY, StorageUnavailableError),
}
_WHY: Final = {
    errno.ELOOP: "a symbolic link is on the way, and is not followed",
    errno.EXDEV: "something is mounted on the way, and is not entered",
}


@contextlib.contextmanager
def system_errors(what: str) -> Iterator[None]:
    """Turn every `OSError` into the storage error that it means; *what* could not be done goes before it."""
    try:
        yield
    except OSError as error:
        raise _meaning(error)(f"cannot {what}: {_reason(error)}") from error


def _meaning(error: OSError) -> type[StorageError]:
    if isinstance(error, TimeoutError):
        return StorageUnavailableError
    return _MEANINGS.get(error.errno, StorageError)


def _reason(error: OSError) -> str:
    return _WHY.get(error.errno or 0) or error.strerror or str(error)
