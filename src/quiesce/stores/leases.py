"""Leases as locked files: the kernel gives a lease back when its holder dies, however it dies.

No clock is involved, so a clock that jumps breaks nothing. The file's content names the execution, for
whoever is refused. Lock files are kept; they are empty or hold a name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from quiesce.errors import BusyError, StoreError
from quiesce.model.ids import SETTLING, DeploymentName, ExecutionId


class FileLeases:
    """Answers the port `Leases` with one file for each deployment in *directory*."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def acquire(self, deployment: DeploymentName, execution: ExecutionId) -> FileLease:
        """Take the lease for *execution*, or fail at once."""
        descriptor = self._open(deployment)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _name_in(descriptor)
            os.close(descriptor)
            raise busy(deployment, holder) from None
        _note(descriptor, execution.encode())
        return FileLease(descriptor)

    def holder(self, deployment: DeploymentName) -> ExecutionId | None:
        """Return under which name a living process holds the lease."""
        descriptor = self._open(deployment)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return ExecutionId(_name_in(descriptor))
        finally:
            os.close(descriptor)
        return None

    def _open(self, deployment: DeploymentName) -> int:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._directory / deployment, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the lease of {deployment} cannot be opened: {error}") from error


class FileLease:
    """A held lease."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Release it; more than once does no harm."""
        if self._descriptor is not None:
            _note(self._descriptor, b"")
            os.close(self._descriptor)
            self._descriptor = None


def busy(deployment: DeploymentName, holder: str) -> BusyError:
    """Return the refusal of a lease that *holder* has; "" when it does not say who it is."""
    if holder.startswith(SETTLING):
        left = f"what execution {holder.removeprefix(SETTLING)} left frozen or stopped"
        return BusyError(f"{left} of {deployment} is being settled", hint="Wait for it.")
    return BusyError(
        f"execution {holder or 'of another process'} runs on {deployment}",
        hint=f"Wait for it, or cancel it: quiesce executions cancel {holder or 'ID'}",
    )


def _note(descriptor: int, name: bytes) -> None:
    """Let the file say *name*, or nothing where the disk is full: the lock counts, thaws wait for it."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        if os.pwrite(descriptor, name, 0) != len(name):
            os.ftruncate(descriptor, 0)


def _name_in(descriptor: int) -> str:
    return os.pread(descriptor, 256, 0).decode(errors="replace")
