"""One SFTP session and the extensions of OpenSSH that storage needs; knows paramiko, as `sftp` does."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import paramiko
from paramiko.sftp import (
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_INIT,
    CMD_READ,
    CMD_STATUS,
    CMD_VERSION,
    CMD_WRITE,
    int64,
)

from quiesce.ports.storage import Data

#: what is raised here by a server that hangs up, or says what none would say
SERVER_ERRORS: Final = (paramiko.SSHException, paramiko.SFTPError, EOFError, UnicodeDecodeError)
_VERSION: Final = 3
#: what every server takes and gives in one request
_REQUEST_BYTES: Final = 32768
#: how many requests are on their way at one time
_AHEAD: Final = 64
_POSIX_RENAME: Final = "posix-rename@openssh.com"
_HARD_LINK: Final = "hardlink@openssh.com"
_FSYNC: Final = "fsync@openssh.com"
_STATVFS: Final = "statvfs@openssh.com"
#: of statvfs's answer: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail
_STATVFS_HEAD: Final = struct.Struct(">QQQQQ")


class SftpSession(paramiko.SFTPClient):
    """A session that knows what its server can do beside the protocol."""

    extensions: frozenset[str] = frozenset()

    if TYPE_CHECKING:
        # of the base class, which its stubs leave out

        def _async_request(self, taker: object, kind: int, *arguments: object) -> int: ...

        def _read_response(self) -> object: ...

        def _convert_status(self, message: paramiko.Message) -> None: ...

        def _send_packet(self, kind: int, packet: paramiko.Message) -> None: ...

        def _read_packet(self) -> tuple[int, bytes]: ...

    @property
    def replaces(self) -> bool:
        """Whether a file can be renamed over another in one step."""
        return _POSIX_RENAME in self.extensions

    @property
    def links(self) -> bool:
        """Whether a file can be given a second name, which fails where that name is taken."""
        return _HARD_LINK in self.extensions

    def write(self, file: paramiko.SFTPFile, data: Data) -> None:
        """Write all of *data* from the beginning; any part that the server refuses is raised."""
        view = memoryview(data).cast("B")
        answers = _Answers()
        ahead: deque[int] = deque()
        for offset in range(0, len(view), _REQUEST_BYTES):
            if len(ahead) == _AHEAD:
                self._require_written(answers, ahead.popleft())
            part = bytes(view[offset : offset + _REQUEST_BYTES])
            ahead.append(self._async_request(answers, CMD_WRITE, file.handle, int64(offset), part))
        for number in ahead:
            self._require_written(answers, number)

    def read(self, file: paramiko.SFTPFile, offset: int, length: int) -> bytes:
        """Return so many bytes from *offset* on, or fewer where the file ends before."""
        answers = _Answers()
        parts = []
        ahead: deque[tuple[int, int, int]] = deque()
        for begin, size in _requests(offset, offset + length):
            if len(ahead) == _AHEAD:
                parts.append(self._part(answers, file, *ahead.popleft()))
            number = self._async_request(answers, CMD_READ, file.handle, int64(begin), size)
            ahead.append((number, begin, size))
        parts += [self._part(answers, file, *request) for request in ahead]
        return b"".join(parts)

    def link(self, path: str, new_path: str) -> None:
        """Give a file a second name."""
        self._request(CMD_EXTENDED, _HARD_LINK, path.encode(), new_path.encode())

    def sync(self, file: paramiko.SFTPFile) -> None:
        """Write an open file, or directory, to the server's disk, where the server can be told so."""
        if _FSYNC in self.extensions:
            self._request(CMD_EXTENDED, _FSYNC, file.handle)

    def sync_directory(self, path: str) -> None:
        """Write a directory's entries to the disk, where the server opens directories like files."""
        if _FSYNC in self.extensions:
            with contextlib.suppress(OSError), self.open(path or ".", "r") as directory:
                self.sync(directory)

    def free_bytes(self, path: str) -> int | None:
        """Return the room that is left for this user; None where the server does not say."""
        if _STATVFS not in self.extensions:
            return None
        kind, message = self._request(CMD_EXTENDED, _STATVFS, (path or ".").encode())
        if kind != CMD_EXTENDED_REPLY:
            return None
        _, unit_bytes, _, _, available = _STATVFS_HEAD.unpack(message.get_bytes(_STATVFS_HEAD.size))
        return int(unit_bytes * available)

    def _request(self, kind: int, *arguments: object) -> tuple[int, paramiko.Message]:
        """Ask and wait; what the answer leaves out is an error, where paramiko would make it up."""
        answer, message = super()._request(kind, *arguments)  # type: ignore[misc]
        return answer, _WholeMessage(message.get_remainder())

    def _require_written(self, answers: _Answers, number: int) -> None:
        kind, message = self._answer(answers, number)
        if kind != CMD_STATUS:
            raise paramiko.SFTPError("the server answers a write with something else than a status")
        self._convert_status(message)

    def _part(self, answers: _Answers, file: paramiko.SFTPFile, number: int, offset: int, size: int) -> bytes:
        """Return what was asked for by one request; where a server gives less than that, ask for the rest."""
        data = b""
        while True:
            kind, message = self._answer(answers, number)
            if kind == CMD_STATUS:
                with contextlib.suppress(EOFError):
                    self._convert_status(message)
                return data
            part = message.get_string()
            if not part or len(data) + len(part) > size:
                raise paramiko.SFTPError("the server answers a read with nothing, or with too much")
            data += part
            if len(data) == size:
                return data
            rest = int64(offset + len(data)), size - len(data)
            number = self._async_request(answers, CMD_READ, file.handle, *rest)

    def _answer(self, answers: _Answers, number: int) -> tuple[int, paramiko.Message]:
        while number not in answers.arrived:
            self._read_response()
        return answers.arrived.pop(number)

    def _send_version(self) -> int:
        """Greet as the base class does, and keep what the server says that it can, which that one drops."""
        greeting = paramiko.Message()
        greeting.add_int(_VERSION)
        self._send_packet(CMD_INIT, greeting)
        kind, data = self._read_packet()
        if kind != CMD_VERSION:
            raise paramiko.SFTPError("incompatible SFTP protocol")
        answer = paramiko.Message(data)
        version = answer.get_int()
        names = set()
        while answer.get_remainder():
            names.add(answer.get_string().decode(errors="replace"))
            answer.get_string()
        self.extensions = frozenset(names)
        return version


class _WholeMessage(paramiko.Message):
    """A message that says when it ends: else a count of four thousand million empty names is believed."""

    def get_bytes(self, n: int) -> bytes:
        """Return the next *n* bytes."""
        found = self.packet.read(n)
        if len(found) < n:
            raise paramiko.SFTPError("an answer of the server ends in the middle")
        return found


class _Answers:
    """Takes the answers to requests that are on their way, in whatever order they come.

    paramiko's own files read ahead in a thread, whose error nobody hears when the connection is lost.
    """

    def __init__(self) -> None:
        self.arrived: dict[int, tuple[int, paramiko.Message]] = {}

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Take one; the name is what paramiko calls."""
        self.arrived[number] = kind, message


def _requests(begin: int, end: int) -> Iterator[tuple[int, int]]:
    for offset in range(begin, end, _REQUEST_BYTES):
        yield offset, min(_REQUEST_BYTES, end - offset)


def is_alive(session: SftpSession) -> bool:
    """Tell whether the connection still stands, as far as can be seen from here."""
    channel = session.get_channel()
    return channel is not None and not channel.closed and channel.get_transport().is_active()


def hang_up(session: SftpSession) -> None:
    """End the session and its connection."""
    with contextlib.suppress(Exception):
        channel = session.get_channel()
        if channel is not None:
            channel.get_transport().close()
