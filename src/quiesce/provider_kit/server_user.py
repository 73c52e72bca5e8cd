"""The user whose the server's files are, and what is done with that user's rights."""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    MountInsideError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    TreeChangedError,
    UnsupportedError,
)
from quiesce.files.trust import open_declared
from quiesce.isolation.modules import own_command
from quiesce.isolation.run import everybodys_environment, inherited_environment

_PROGRAM: Final = "quiesce.provider_kit.server_places"
_RUN_AS: Final = "quiesce.provider_kit.run_as_user"
_CHUNK_BYTES: Final = 1 << 20
_ERRORS: Final[Mapping[str, type[ProviderError]]] = {
    each.code: each
    for each in (
        DamagedArtifactError,
        ForeignObjectError,
        MountInsideError,
        TreeChangedError,
        UnsupportedError,
    )
} | {"damaged": DamagedArtifactError}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """A user, and all groups."""

    user: int
    group: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of(cls, directory: Path) -> Self:
        """Return whose *directory* is, or would be: the nearest one that there is.

        Raises:
            NonRecoverableError: when it is root's, as which no server runs here, or this user may not act
                for its owner.
        """
        there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
        status = _status_of(there)
        if status.st_uid == 0:
            raise NonRecoverableError(
                f"{there} belongs to root, as which no server should run",
                hint=f"Make {directory}, owned by the server's user.",
            )
        if os.geteuid() not in (0, status.st_uid):
            raise NonRecoverableError(f"{there} belongs to another user", hint="Run quiesce as root.")
        return cls(user=status.st_uid, group=status.st_gid, groups=_groups(status.st_uid, status.st_gid))

    def of_process(self) -> dict[str, Any]:
        """Return what makes a process this user's."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": list(self.groups)}

    def program(self, argv: Sequence[str], directory: int, at: Path) -> list[str]:
        """Return what runs a program as this user, who finds what *directory* is open on *at* that path.

        We are that user, or root, who can mount it there.
        It has to be an empty directory that the user can get to; the descriptor has to be the process's, too.
        """
        if os.geteuid() != 0:
            return list(argv)
        request = {"user": self.user, "group": self.group, "groups": list(self.groups)}
        request |= {"directory": directory, "at": str(at), "environment": everybodys_environment()}
        return own_command(_RUN_AS, json.dumps(request), *argv)

    def take(self, descriptor: int) -> None:
        """Become the owner of what is open."""
        if os.geteuid() == 0:
            os.fchown(descriptor, self.user, self.group)

    def take_path(self, path: Path) -> None:
        """Become the owner of what is at *path*, in a directory of ours."""
        if os.geteuid() == 0:
            os.chown(path, self.user, self.group, follow_symlinks=False)

    def ask(
        self,
        operation: str,
        *,
        data: io.RawIOBase | None = None,
        into: io.RawIOBase | None = None,
        descriptors: Sequence[int] = (),
        timeout_s: float,
        program: str = _PROGRAM,
        **request: object,
    ) -> Any:
        """Have *operation* of `server_places`, or of a *program* with more, done; return its result.

        *data* is its input; the data that it gives go *into* that. *descriptors* are those that it has, too.

        Raises:
            ProviderError: when it failed, or was not done in time.
        """
        body = {**request, "operation": operation, "user": self.user, "group": self.group}
        body |= {"groups": list(self.groups), "gives_data": into is not None}
        process = subprocess.Popen(
            own_command(program, json.dumps(body)),
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=inherited_environment(),  # the server's user can read it
            cwd="/",
            pass_fds=descriptors,
        )
        out_of_time = threading.Event()

        def end() -> None:
            out_of_time.set()
            process.kill()

        timer = threading.Timer(max(0.1, timeout_s), end)
        timer.start()
        try:
            if data is not None:
                _pour(data, process)
            if into is not None and process.stdout is not None:
                shutil.copyfileobj(process.stdout, into, _CHUNK_BYTES)
            said, complaint = process.communicate()
        except BaseException:
            process.kill()
            process.communicate()
            raise
        finally:
            timer.cancel()
        if out_of_time.is_set():
            raise OperationTimeoutError(f"{operation} was not done in time")
        return _result(said if into is None else complaint, complaint)


def _pour(data: io.RawIOBase, process: subprocess.Popen[bytes]) -> None:
    stream = process.stdin
    if stream is None:
        return
    with suppress(BrokenPipeError):  # its answer says why
        while chunk := data.read(_CHUNK_BYTES):
            stream.write(chunk)
    with suppress(BrokenPipeError):
        stream.close()
    process.stdin = None


def _result(said: bytes, complaint: bytes) -> Any:
    try:
        answer = json.loads(said)
    except ValueError:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise NonRecoverableError(
            f"the process that works as the server's user ended: {lines[-1] if lines else 'it said nothing'}"
        ) from None
    if "error" in answer:
        kind = _ERRORS.get(answer["code"], NonRecoverableError)
        raise kind(answer["error"], hint=answer["hint"] or None)
    return answer["result"]


def _status_of(path: Path) -> os.stat_result:
    """Return whose *path* is: what somebody puts in its way meanwhile is theirs, too."""
    if path == path.parent:
        return path.stat()
    with open_declared(path) as declared:
        return os.stat(declared.name, dir_fd=declared.parent, follow_symlinks=False)


def _groups(user: int, group: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(user).pw_name, group))
    except KeyError:
        return (group,)
