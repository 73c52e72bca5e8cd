"""Changes a server's directories with the rights of the user whose they are; a process of its own.

Root replaces directories in a directory that belongs to somebody else. Whatever that user puts in the way
(links, other names) can lead this process only where the user may go anyway.

It is called with a request (JSON) as its only argument, takes data from standard input and answers with a
line of JSON: the result, or an error. What gives data writes them to standard output, and the line to
standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from quiesce.errors import DamagedArtifactError, ForeignObjectError, MountInsideError, QuiesceError
from quiesce.files.durable import storage_errors, sync_directory, write_durably
from quiesce.files.exchange import Named, exchange
from quiesce.files.system_calls import sync_file_system

_CHUNK_BYTES: Final = 1 << 20
_PARENT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STATE: Final = "state.json"


class ServerPlace:
    """A directory that a restore replaces, and beside it what it replaces it with, and what it replaced."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.room = self.path.with_name(f".quiesce-{self.path.name}")
        self.incoming = self.room / "incoming"
        self.content = self.incoming / self.path.name
        self.former = self.room / "former"

    def begin(self) -> None:
        """Make room for what is to come, and bring to its end what was interrupted."""
        if os.path.ismount(self.path):
            raise MountInsideError(
                f"{self.path} is a mount point, which cannot be replaced",
                hint="Let the server's directory be one below the mount point.",
            )
        if not self.room.exists():
            self.room.mkdir(mode=0o700)
        elif self.room.stat().st_uid != os.geteuid():
            raise ForeignObjectError(f"quiesce did not make {self.room}")
        self._settle()
        _remove(self.incoming)
        self.incoming.mkdir(mode=0o700)

    def put_in_place(self, execution: str, point: str) -> None:
        """Exchange what is there with what has come, at one instant, and keep it."""
        state = self.state()
        state["next"] = {"execution": execution, "point": point, "inode": _inode(self.content)}
        self._write(state)
        if self.path.exists():
            _exchange(self.content, self.path)
        else:
            self.content.rename(self.path)
            _sync(self.incoming, self.path.parent)
        self._settle()

    def revert(self, wanted: str) -> None:
        """Exchange what is there with what is kept, where that is *wanted*."""
        self._settle()
        state = self.state()
        if state.get("kept") == wanted:
            state["reverting"] = _inode(self.former)
            self._write(state)
            _exchange(self.former, self.path)
            self._settle()

    def confirm(self, execution: str, keep_s: float | None) -> None:
        """Note that the restore has succeeded, or let go of what it replaced."""
        self._settle()
        state = self.state()
        if keep_s == 0:
            _remove(self.room)
        elif state.get("execution") == execution:
            state["succeeded"] = True
            state["keep_until"] = None if keep_s is None else time.time() + keep_s
            self._write(state)

    def let_go_of_expired(self) -> None:
        """Remove what is kept when it was to be kept for a time which is over."""
        self._settle()
        until = self.state().get("keep_until")
        if until is not None and until <= time.time():
            _remove(self.room)

    def state(self) -> dict[str, Any]:
        """Return what is known of what is kept."""
        try:
            found = json.loads((self.room / _STATE).read_bytes())
        except FileNotFoundError:
            return {}
        return found if isinstance(found, dict) else {}

    def _settle(self) -> None:
        """Bring an exchange that was begun to its end."""
        state = self.state()
        coming, reverting = state.pop("next", None), state.pop("reverting", None)
        if coming is not None and _inode(self.path) == coming["inode"]:
            self._keep_first_former(state)
            state.update(execution=coming["execution"], point=coming["point"], kept="former")
            state.update(succeeded=False, replaced_at=time.time(), keep_until=None)
            self._write(state)
        elif reverting is not None and _inode(self.path) == reverting:
            state["kept"] = "former" if state.get("kept") == "restored" else "restored"
            self._write(state)
        elif coming is not None or reverting is not None:
            self._write(state)

    def _keep_first_former(self, state: Mapping[str, Any]) -> None:
        """Keep what was replaced, unless a restore that has not succeeded had put it there."""
        if not self.content.exists():
            return  # nothing was there, or it was kept before we were interrupted
        unfinished = state.get("succeeded") is False and state.get("kept") == "former"
        if unfinished and self.former.exists():
            _remove(self.content)
            return
        _remove(self.former)
        self.content.rename(self.former)
        _sync(self.incoming, self.room)

    def _write(self, state: Mapping[str, Any]) -> None:
        write_durably(self.room / _STATE, json.dumps(state).encode())


def begin(request: Mapping[str, Any]) -> None:
    """Make room at every place."""
    for place in _places(request):
        place.begin()


def unpack(request: Mapping[str, Any]) -> None:
    """Unpack standard input, a tar file, to where a place's content comes from."""
    place = ServerPlace(request["place"])
    into = place.incoming if request["holds_name"] else place.content
    into.mkdir(mode=0o700, exist_ok=True)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            _unpack_one(archive, member, into)


def receive(request: Mapping[str, Any]) -> None:
    """Write standard input to a file of a place's content."""
    place = ServerPlace(request["place"])
    place.content.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(place.content / request["name"], flags, 0o600), "wb") as out:  # noqa: PTH123  by descriptor
        shutil.copyfileobj(sys.stdin.buffer, out, _CHUNK_BYTES)


def settle_on_disk(request: Mapping[str, Any]) -> None:
    """Have everything that has come to every place on the disk."""
    for place in _places(request):
        descriptor = os.open(place.incoming, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_file_system(descriptor)
        finally:
            os.close(descriptor)


def replace(request: Mapping[str, Any]) -> None:
    """Put everything in its place."""
    for place in _places(request):
        place.put_in_place(request["execution"], request["point"])


def revert(request: Mapping[str, Any]) -> None:
    """Exchange everything with what is kept."""
    for place in _places(request):
        place.revert(request["wanted"])


def confirm(request: Mapping[str, Any]) -> None:
    """Keep what was replaced, as the undo."""
    for place in _places(request):
        place.confirm(request["execution"], request["keep_s"])


def let_go_of_expired(request: Mapping[str, Any]) -> None:
    """Remove at every place what was to be kept for a time which is over."""
    for place in _places(request):
        place.let_go_of_expired()


def state(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is kept at the first place, and where."""
    place = _places(request)[0]
    return {**place.state(), "place": str(place.former)} if place.former.exists() else {}


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isdir() or member.isreg()):
        raise DamagedArtifactError(f"{member.name!r} has no place in a server's directory")
    path = into / name
    if member.isdir():
        path.mkdir(mode=member.mode & 0o777, exist_ok=True)
        path.chmod(member.mode & 0o777)
        return
    source = archive.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(path, flags, member.mode & 0o777), "wb") as out:  # noqa: PTH123  by descriptor
        if source is not None:
            shutil.copyfileobj(source, out, _CHUNK_BYTES)
    os.utime(path, (member.mtime, member.mtime))


def _places(request: Mapping[str, Any]) -> list[ServerPlace]:
    return [ServerPlace(path) for path in request["places"]]


def _inode(path: Path) -> list[int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return [status.st_dev, status.st_ino]


def _exchange(one: Path, other: Path) -> None:
    """Let each have the other's name, at one instant and durably."""
    # a link on the way is the server's own: it leads nowhere that its user may not go
    here = os.open(one.parent, _PARENT)
    there = os.open(other.parent, _PARENT)
    try:
        exchange(Named.now(here, os.fsencode(one.name)), Named.now(there, os.fsencode(other.name)))
    finally:
        os.close(here)
        os.close(there)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _sync(*directories: Path) -> None:
    for directory in directories:
        sync_directory(directory)


Operation = Callable[[Mapping[str, Any]], object]

#: what every server's directories need
OPERATIONS: Final[Mapping[str, Operation]] = {
    each.__name__: each
    for each in (begin, unpack, receive, settle_on_disk, replace, revert, confirm, let_go_of_expired, state)
}


def main(operations: Mapping[str, Operation] = OPERATIONS) -> None:
    """Do what the program's argument asks for."""
    request = json.loads(sys.argv[1])
    drop_rights(request)
    _answer(sys.stderr if request["gives_data"] else sys.stdout, request, operations)


def drop_rights(request: Mapping[str, Any]) -> None:
    """Become the user that the request names, for good."""
    user, group, groups = request["user"], request["group"], request["groups"]
    if os.geteuid() == 0 and user != 0:
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    os.umask(0o077)


def _answer(out: IO[str], request: Mapping[str, Any], operations: Mapping[str, Operation]) -> None:
    try:
        with storage_errors(f"{request['operation'].replace('_', ' ')} for a server"):
            result = operations[request["operation"]](request)
    except QuiesceError as error:
        json.dump({"error": str(error), "hint": error.hint, "code": error.code}, out)
    except (tarfile.TarError, EOFError, ValueError) as error:
        json.dump({"error": f"it cannot be unpacked: {error}", "hint": "", "code": "damaged"}, out)
    else:
        json.dump({"result": result}, out)


if __name__ == "__main__":
    main()
