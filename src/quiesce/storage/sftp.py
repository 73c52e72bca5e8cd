"""Objects as files of a directory behind SFTP.

What is put is written beside and gets its name by one step, as in a directory of this machine. The server's
links are followed: whoever has an account there decides what they lead to.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import paramiko

from quiesce.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnreachableError,
)
from quiesce.files.durable import PRIVATE_DIRECTORY, PRIVATE_FILE, is_unfinished
from quiesce.model.stored_object import ObjectName, StoredObject, is_object_name, object_name
from quiesce.ports.storage import Data
from quiesce.storage.sftp_login import SftpLogin
from quiesce.storage.sftp_session import SERVER_ERRORS, SftpSession, hang_up, is_alive
from quiesce.storage.system_errors import system_errors
from quiesce.storage.urls import StorageUrl

#: an unfinished file that is older than this is nobody's any more, by the server's clock
_ABANDONED_S: Final = 86400.0


def open_sftp(url: StorageUrl, secret: str | None) -> SftpStorage:
    """Return the storage that *url* names. *secret* is a private key, or else a password."""
    return SftpStorage(url, SftpLogin(url, secret))


class SftpStorage:
    """Answers the port `Storage`. Each call that runs at one time has a connection of its own."""

    def __init__(self, url: StorageUrl, login: Callable[[], SftpSession]) -> None:
        self._url = url
        self._root = url.path.removeprefix("~/")
        self._login = login
        self._lock = threading.Lock()
        self._idle: list[SftpSession] = []
        #: the directory was there
        self._found = False

    @property
    def location(self) -> str:
        """The URL."""
        return str(self._url)

    def prepare(self) -> None:
        """Make the directory, private to the user."""
        with self._session("make the directory") as session:
            _make_folders(session, self._root)

    def put(self, name: ObjectName, data: Data, *, exclusive: bool = False) -> None:
        """Write a file beside, and give it its name once it is on the disk."""
        path = self._path(name)
        folder, last = posixpath.split(path)
        unfinished = f"{folder}/.{last}.{secrets.token_hex(4)}.quiesce-new"
        with self._session("put", name) as session:
            self._require_root(session)
            if exclusive and _exists(session, path):
                raise ObjectExistsError(f"{name} is there already ({self.location})")
            try:
                self._write(session, unfinished, data)
                self._give_name(session, unfinished, path, name, exclusive=exclusive)
            except BaseException:
                with contextlib.suppress(Exception):
                    session.remove(unfinished)
                raise
            session.sync_directory(folder)

    def get(self, name: ObjectName, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file."""
        with self._session("get", name) as session:
            try:
                return _read(session, self._path(name), offset, length)
            except FileNotFoundError:
                self._require_root(session)
                raise

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Walk the directory."""
        with self._session("list") as session:
            self._require_root(session)
        ahead = [object_name(folder) if folder else ""]
        while ahead:
            path = ahead.pop()
            for name, status in self._entries(path):
                if stat.S_ISDIR(status.st_mode or 0):
                    ahead.append(name)
                elif stat.S_ISREG(status.st_mode or 0):
                    yield _described(ObjectName(name), status)

    def stat(self, name: ObjectName) -> StoredObject:
        """Look at a file."""
        with self._session("look at", name) as session:
            try:
                status = session.stat(self._path(name))
            except FileNotFoundError:
                self._require_root(session)
                raise
            if not stat.S_ISREG(status.st_mode or 0):
                raise ObjectNotFoundError(f"{name} is a directory or a special file, and no object")
            return _described(name, status)

    def delete(self, name: ObjectName) -> None:
        """Remove a file."""
        with contextlib.suppress(ObjectNotFoundError), self._session("delete", name) as session:
            path = self._path(name)
            try:
                session.remove(path)
            except FileNotFoundError:
                self._require_root(session)
            except OSError:
                if not stat.S_ISDIR(session.stat(path).st_mode or 0):
                    raise

    def remove_unfinished(self) -> None:
        """Remove what was begun a day ago and more, by the server's clock."""
        with self._session("remove what is unfinished") as session:
            self._require_root(session)
            now = _server_time(session, f"{self._root}/.{secrets.token_hex(4)}.quiesce-new")
            for path, status in _unfinished(session, self._root, ""):
                if now - (status.st_mtime or 0) > _ABANDONED_S:
                    with contextlib.suppress(FileNotFoundError):
                        session.remove(path)

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            hang_up(session)

    def _path(self, name: ObjectName) -> str:
        return f"{self._root}/{object_name(name)}"

    @contextlib.contextmanager
    def _session(self, verb: str, name: str = "") -> Iterator[SftpSession]:
        """Lend a session; one in which anything failed is not used again."""
        what = f"{verb} {name}".rstrip() + f" ({self.location})"
        session = self._idle_one() or self._login()
        try:
            with _errors(what, session):
                yield session
        except (ObjectNotFoundError, ObjectExistsError):
            self._give_back(session)
            raise
        except BaseException:
            hang_up(session)
            raise
        self._give_back(session)

    def _idle_one(self) -> SftpSession | None:
        with self._lock:
            while self._idle:
                session = self._idle.pop()
                if is_alive(session):
                    return session
                hang_up(session)
        return None

    def _give_back(self, session: SftpSession) -> None:
        with self._lock:
            self._idle.append(session)

    def _require_root(self, session: SftpSession) -> None:
        """Tell an absent object from an absent repository; what was seen once is not asked for again."""
        if self._found:
            return
        try:
            status = session.stat(self._root)
        except FileNotFoundError:
            raise UnreachableError(f"{self.location} is not there") from None
        if not stat.S_ISDIR(status.st_mode or 0):
            raise UnreachableError(f"{self.location} is no directory")
        self._found = True

    def _write(self, session: SftpSession, path: str, data: Data) -> None:
        try:
            file = session.open(path, "wx")
        except FileNotFoundError:
            _make_folders(session, posixpath.dirname(path), below=self._root)
            file = session.open(path, "wx")
        with file:
            file.chmod(PRIVATE_FILE)
            try:
                session.write(file, data)
                session.sync(file)
            except OSError as error:
                self._raise_if_full(session, len(data), error)
                raise

    def _give_name(
        self, session: SftpSession, unfinished: str, path: str, name: str, *, exclusive: bool
    ) -> None:
        rename = self._rename_to_new if exclusive or not session.replaces else _replace
        try:
            rename(session, unfinished, path)
        except OSError as error:
            if not _exists(session, unfinished):
                raise StorageUnavailableError(
                    f"{name} was removed while it was put ({self.location})"
                ) from error
            if rename is _replace or not _exists(session, path):
                raise
            if exclusive:
                raise ObjectExistsError(f"{name} is there already ({self.location})") from None
            raise StorageError(
                f"cannot put {name} ({self.location}): the server cannot replace a file in one step",
                hint="Use a server that knows posix-rename@openssh.com, as OpenSSH does.",
            ) from error

    @staticmethod
    def _rename_to_new(session: SftpSession, path: str, new_path: str) -> None:
        """Rename where nothing is: a link fails where something is, and not every server's rename does."""
        if session.links:
            session.link(path, new_path)
            session.remove(path)
        else:
            session.rename(path, new_path)

    def _raise_if_full(self, session: SftpSession, size_bytes: int, error: OSError) -> None:
        """Find out what the server's plain "Failure" means."""
        with contextlib.suppress(OSError, paramiko.SSHException):
            free = session.free_bytes(self._root)
            if free is not None and free < size_bytes:
                raise StorageFullError(f"no room for {size_bytes} bytes ({self.location})") from error

    def _entries(self, folder: str) -> Sequence[tuple[str, paramiko.SFTPAttributes]]:
        """Return the entries of a folder whose names may be objects'."""
        with self._session("list", folder) as session:
            try:
                found = session.listdir_attr(f"{self._root}/{folder}" if folder else self._root)
            except FileNotFoundError:
                return []
            except OSError:
                if stat.S_ISDIR(session.stat(f"{self._root}/{folder}").st_mode or 0):
                    raise
                return []
            named = [(f"{folder}/{entry.filename}" if folder else entry.filename, entry) for entry in found]
            return [
                (name, self._followed(session, name, entry)) for name, entry in named if is_object_name(name)
            ]

    def _followed(
        self, session: SftpSession, name: str, status: paramiko.SFTPAttributes
    ) -> paramiko.SFTPAttributes:
        return session.stat(f"{self._root}/{name}") if stat.S_ISLNK(status.st_mode or 0) else status


@contextlib.contextmanager
def _errors(what: str, session: SftpSession) -> Iterator[None]:
    """Turn what paramiko raises into storage errors: where the connection is gone, there was no answer."""
    try:
        with system_errors(what):
            yield
    except (*SERVER_ERRORS, struct.error) as error:
        raise StorageUnavailableError(f"cannot {what}: {error}") from error
    except StorageError as error:
        if type(error) is StorageError and not is_alive(session):
            raise StorageUnavailableError(f"{error}: the connection was lost") from error
        raise


def _replace(session: SftpSession, path: str, new_path: str) -> None:
    session.posix_rename(path, new_path)


def _exists(session: SftpSession, path: str) -> bool:
    try:
        session.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _make_folders(session: SftpSession, path: str, *, below: str = "") -> None:
    """Make *path* and what is missing above it, but nothing above *below*."""
    if path in {"", "/"} or _exists(session, path):
        return
    parent = posixpath.dirname(path)
    if path != below:
        _make_folders(session, parent, below=below)
    try:
        session.mkdir(path, PRIVATE_DIRECTORY)
    except OSError:
        if not _exists(session, path):
            raise
    session.sync_directory(parent)


def _read(session: SftpSession, path: str, offset: int, length: int | None) -> bytes:
    with session.open(path, "r") as file:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode or 0):
            raise ObjectNotFoundError(f"{path} is a directory or a special file, and no object")
        wanted = max(0, (status.st_size or 0) - offset)
        if length is not None:
            wanted = min(wanted, length)
        return session.read(file, offset, wanted)


def _described(name: ObjectName, status: paramiko.SFTPAttributes) -> StoredObject:
    return StoredObject(name=name, size_bytes=status.st_size or 0, modified=float(status.st_mtime or 0))


def _server_time(session: SftpSession, path: str) -> float:
    with session.open(path, "wx") as file:
        now = file.stat().st_mtime or 0
    session.remove(path)
    return float(now)


def _unfinished(
    session: SftpSession, root: str, folder: str
) -> Iterator[tuple[str, paramiko.SFTPAttributes]]:
    for entry in session.listdir_attr(f"{root}/{folder}".rstrip("/")):
        name = f"{folder}/{entry.filename}".lstrip("/")
        if stat.S_ISDIR(entry.st_mode or 0) and is_object_name(name):
            yield from _unfinished(session, root, name)
        elif stat.S_ISREG(entry.st_mode or 0) and is_unfinished(entry.filename):
            yield f"{root}/{name}", entry
