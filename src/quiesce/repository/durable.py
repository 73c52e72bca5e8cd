"""Writes that survive a power cut, and their errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, RecoverableError

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700

_FINAL_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


def write_durably(path: Path, data: bytes) -> None:
    """Replace *path* by *data*, private to the user: after a power cut it is the old or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def make_private_directory(path: Path) -> None:
    """Make *path* and what is missing above it, private to the user; the entries are durable."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY)
        sync_directory(path.parent)
    except FileExistsError:
        return
    except FileNotFoundError:
        # somebody removed the parent because it was empty
        make_private_directory(path)


def sync_directory(path: Path) -> None:
    """Make the entries of *path* durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn every `OSError` into an error that says what failed and whether asking again may help."""
    try:
        yield
    except OSError as error:
        message = f"cannot {what}: {error.strerror or error}"
        if error.filename:
            message += f" ({os.fsdecode(error.filename)})"
        if error.errno in _FINAL_ERRORS:
            raise NonRecoverableError(message, hint=_hint(error.errno)) from error
        raise RecoverableError(message) from error


def _hint(number: int | None) -> str:
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return "Make room there, or choose a repository on another disk."
    return "Let the user that runs quiesce write there, or choose another directory."
